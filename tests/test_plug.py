import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diip_jax.plug import Function, as_plug, plug


@plug(data=("scale",))
class Scaled:
    scale: float
    power: int = 1

    def __post_init__(self):
        if not self.scale > 0:  # which no tracer could answer
            raise ValueError(f"scale={self.scale}: expected above 0")

    def __call__(self, x):
        return self.scale * x**self.power


def test_data_are_leaves_and_settings_are_the_structure():
    assert jax.tree.leaves(Scaled(2.0, 3)) == [2.0]
    assert jax.tree.structure(Scaled(2.0, 3)) == jax.tree.structure(Scaled(5.0, 3))
    assert jax.tree.structure(Scaled(2.0, 3)) != jax.tree.structure(Scaled(2.0, 2))
    (path, _), *_ = jax.tree_util.tree_leaves_with_path(Scaled(2.0))
    assert jax.tree_util.keystr(path) == ".scale"


def test_other_data_run_in_the_same_program():
    traced = []

    @jax.jit
    def call(scaled, x):
        traced.append(1)
        return scaled(x)

    for scale in (1.0, 2.0, 3.0):
        np.testing.assert_allclose(call(Scaled(scale, 2), jnp.float32(3)), 9 * scale)
    assert len(traced) == 1
    call(Scaled(1.0, 3), jnp.float32(3))
    assert len(traced) == 2


def test_what_a_user_gives_is_checked_and_what_jax_does_is_not():
    with pytest.raises(ValueError, match=r"scale=-1\.0: expected above 0"):
        Scaled(-1.0)
    assert jax.tree.map(lambda leaf: -leaf, Scaled(2.0)).scale == -2.0
    several = jax.tree.map(lambda leaf: jnp.array([leaf, 2 * leaf]), Scaled(1.0))
    np.testing.assert_allclose(jax.vmap(lambda s, x: s(x))(several, jnp.ones(2)), [1, 2])
    with pytest.raises(AttributeError):
        Scaled(1.0).scale = 2.0


def test_an_unknown_field_is_refused():
    with pytest.raises(TypeError, match=r"plug\(data=\('size',\)\): Empty has no field size"):

        @plug(data=("size",))
        class Empty:
            pass


def test_a_plain_function_becomes_a_plug_without_leaves():
    def double(x):
        return 2 * x

    made = as_plug(double)
    assert made == Function(double) and made(3) == 6 and made.__name__ == "double"
    assert jax.tree.leaves(made) == [] and as_plug(made) is made and as_plug(0.5) == 0.5

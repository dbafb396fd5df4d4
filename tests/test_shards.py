"""Parts of a run by a hash of the names."""

import pytest

from diip_jax.run.shards import Shard, shard_named


def test_every_image_is_in_one_part():
    names = [f"folder/{n}" for n in range(1000)]
    parts = [[name for name in names if Shard(index, 8).holds(name)] for index in range(8)]
    assert sorted(name for part in parts for name in part) == sorted(names)
    assert max(map(len, parts)) < 1.35 * min(map(len, parts))


def test_a_part_is_the_same_everywhere():
    # The first 8 bytes of sha256("a"), as sha256sum prints them.
    assert Shard(0xCA978112CA1BBDCA % 1000, 1000).holds("a")


@pytest.mark.parametrize("text", ["", "1", "2/2", "-1/2", "1/2/3", "a/b", "0/0"])
def test_what_names_no_part_is_refused(text):
    with pytest.raises(ValueError, match=r"expected I/N with I from 0 to N - 1"):
        shard_named(text)


def test_a_part_is_named():
    assert shard_named("3/64") == Shard(3, 64)

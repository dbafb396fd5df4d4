"""What every test runs under: the CPU, and every jaxtyping annotation checked by beartype."""

import ctypes
import gc
import os
import signal

# Before the first import of jax anywhere.
os.environ["JAX_PLATFORMS"] = "cpu"
# Compiling takes most of the suite's time, and how well LLVM optimises changes nothing that is asserted. The older code
# generator for fused operations compiles in half the time of the newer, and a program in one piece in two thirds of the
# time that its usual 32 pieces take.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)

import pytest
from jaxtyping import install_import_hook

# A shell ignores Ctrl-C for what it runs in the background, and that is inherited by the commands that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Every annotated function of the package is type- and shape-checked on each call; users never pay for it.
install_import_hook("diip_jax", "beartype.beartype")


@pytest.fixture(scope="session", autouse=True)
def imported():
    """What is there once all is imported stays: the garbage collector need not look through it at every trace."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def programs_of_a_module():
    """Forgets what a module compiled, which hardly serves another: keeping it saves 5 % of the CPU time (seven modules
    of the loop: 87 s instead of 91), and those seven alone take 0.65 GB more by it (1.76 instead of 1.11)."""
    yield
    import jax

    jax.clear_caches()
    gc.collect()
    # What is free again goes back to the system, where the C library can be told so.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@pytest.fixture(scope="session")
def prior():
    """The tiny prior, one for all: nothing can change it."""
    from networks import tiny_prior

    return tiny_prior()

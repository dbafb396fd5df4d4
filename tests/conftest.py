"""What every test runs under: the CPU, and every jaxtyping annotation checked by beartype."""

import gc
import os
import resource
import runpy
import signal
import sys
from pathlib import Path

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


def pytest_configure(config):
    """What is compiled is kept where pytest keeps what is for later sessions: for them, for the other workers and for
    the commands that tests start. `pytest --cache-clear` forgets it."""
    if "PYTEST_XDIST_WORKER" not in os.environ and hasattr(config, "cache"):
        # By its path: the package itself is imported in the workers alone. Programs of one processor are not another's.
        kind = runpy.run_path(str(Path(__file__).parent.parent / "diip_jax" / "machine.py"))["cpu_kind"]()
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(config.cache.mkdir("programs") / kind)
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"


def pytest_sessionfinish():
    if "diip_jax" in sys.modules and "JAX_COMPILATION_CACHE_DIR" in os.environ:
        from diip_jax.launch.program_cache import MAX_BYTES, remove_oldest

        remove_oldest(Path(os.environ["JAX_COMPILATION_CACHE_DIR"]), MAX_BYTES)


@pytest.fixture(scope="session", autouse=True)
def imported():
    """What is there once all is imported stays: the garbage collector need not look through it at every trace."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


ENOUGH = 1.2e9  # bytes of memory from which on compiled programs are forgotten


@pytest.fixture(scope="module", autouse=True)
def memory_is_bounded():
    """Forgets what was compiled where a worker has grown large: modules need little of what others compiled, and what
    they do need is on the disk."""
    yield
    import jax

    pages = Path("/proc/self/statm")
    if pages.exists() and int(pages.read_text().split()[1]) * resource.getpagesize() < ENOUGH:
        return
    from diip_jax.machine import give_back_memory

    jax.clear_caches()
    gc.collect()
    give_back_memory()


@pytest.fixture(scope="session")
def prior():
    """The tiny prior, one for all: nothing can change it."""
    from networks import tiny_prior

    return tiny_prior()

"""Ctrl-C and SIGTERM to a command in each part of its life: one line and 130 or 143."""

import signal
import subprocess
import sys
import textwrap

import pytest

from diip_jax.startup import at_once

SIGNALS = {signal.SIGINT: ("interrupted", 130), signal.SIGTERM: ("terminated", 143)}


@pytest.fixture
def command(tmp_path):
    """Runs `python -m diip_jax.COMMAND`, a module of these lines beside the package's own; returns the process."""

    def run(lines: str, number: int) -> subprocess.CompletedProcess:
        (tmp_path / "command.py").write_text(textwrap.dedent(lines))
        # The package's search path gets the folder without the package being imported: so that it is imported for -m.
        script = f"""
        import importlib.util, os, runpy, signal, sys, types
        NUMBER = signal.Signals({number})
        sys.argv, sys.orig_argv = ["-m"], [sys.executable, "-X", "importtime", "-m", "diip_jax.command", "--flag"]
        spec = importlib.util.find_spec("diip_jax")
        package = types.ModuleType("diip_jax")
        package.__path__ = [*spec.submodule_search_locations, {str(tmp_path)!r}]
        sys.modules["diip_jax"] = package
        import diip_jax.startup
        exec(compile(open({str(tmp_path / "command.py")!r}).read(), "command.py", "exec"))
        """
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60
        )

    return run


def test_the_package_s_first_import_is_the_guard():
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", "import diip_jax"], capture_output=True, text=True)
    imported = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines()]
    assert imported.index("diip_jax.startup") < imported.index("jax")
    assert imported.index("diip_jax.startup") < imported.index("numpy")


@pytest.mark.parametrize("number", SIGNALS)
def test_while_it_imports_even_where_exceptions_are_swallowed(command, number):
    done = command(
        """
        try:
            os.kill(os.getpid(), NUMBER)
            import json
        except BaseException:
            pass
        print("went on")
        """,
        number,
    )
    word, code = SIGNALS[number]
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"diip_jax.command: error: {word}\n")


@pytest.mark.parametrize("number", SIGNALS)
def test_outside_what_a_command_catches_itself(command, number):
    done = command("diip_jax.startup.run(lambda arguments: os.kill(os.getpid(), NUMBER) or 7)", number)
    word, code = SIGNALS[number]
    assert (done.returncode, done.stderr) == (code, f"diip_jax.command: error: {word}\n")


@pytest.mark.parametrize("number", SIGNALS)
def test_when_it_is_over(command, number):
    done = command(
        """
        import atexit
        atexit.register(lambda: os.kill(os.getpid(), NUMBER))
        diip_jax.startup.run(lambda arguments: 3)
        """,
        number,
    )
    word, code = SIGNALS[number]
    assert (done.returncode, done.stderr) == (code, f"diip_jax.command: error: {word}\n")


@pytest.mark.parametrize("number", SIGNALS)
def test_at_once_where_a_library_would_swallow_it(command, number):
    done = command(
        """
        def main(arguments):
            with diip_jax.startup.at_once():
                pass
            try:
                raise_in_between()
            except KeyboardInterrupt:
                print("as usual", flush=True)
            with diip_jax.startup.at_once():
                try:
                    os.kill(os.getpid(), NUMBER)
                except BaseException:
                    print("swallowed")
            return 0

        def raise_in_between():
            if NUMBER != signal.SIGINT:
                raise KeyboardInterrupt
            os.kill(os.getpid(), NUMBER)

        diip_jax.startup.run(main)
        """,
        number,
    )
    word, code = SIGNALS[number]
    assert (done.returncode, done.stdout, done.stderr) == (code, "as usual\n", f"diip_jax.command: error: {word}\n")


def test_outside_a_command_at_once_changes_nothing():
    with pytest.raises(KeyboardInterrupt), at_once():
        signal.raise_signal(signal.SIGINT)


# Where Python or a library does not let Ctrl-C through.
SWALLOWED = {
    "a destructor": """
        class Collected:
            def __del__(self):
                os.kill(os.getpid(), NUMBER)
        Collected()
    """,
    "a callback of the garbage collection, as JAX has one": """
        import gc
        def callback(phase, info):
            gc.callbacks.remove(callback)
            os.kill(os.getpid(), NUMBER)
        gc.callbacks.append(callback)
        gc.collect()
    """,
    "asyncio, as Orbax has it": """
        import asyncio
        async def reading():
            os.kill(os.getpid(), NUMBER)
            try:
                await asyncio.sleep(0.1)
            except asyncio.CancelledError:
                pass
        asyncio.run(reading())
    """,
}


@pytest.mark.parametrize("place", SWALLOWED)
def test_ctrl_c_reaches_the_command_from_where_it_would_be_swallowed(command, place):
    lines = f"""
        def main(arguments):
            try:
                work()
                time.sleep(5)
            except KeyboardInterrupt:
                return 130
            print("went on")
            return 0

        def work():
{textwrap.indent(textwrap.dedent(SWALLOWED[place]), " " * 12)}

        import time
        diip_jax.startup.run(main)
        """
    done = command(lines, signal.SIGINT)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_signal_that_is_ignored_stays_so(command):
    # As under nohup, and in the background of a shell without job control.
    done = command(
        """
        signal.signal(NUMBER, signal.SIG_IGN)
        diip_jax.startup.guard()
        os.kill(os.getpid(), NUMBER)
        diip_jax.startup.run(lambda arguments: os.kill(os.getpid(), NUMBER) or 7)
        """,
        signal.SIGINT,
    )
    assert (done.returncode, done.stderr) == (7, "")


def test_importing_the_package_leaves_signals_alone():
    lines = "import signal; before = signal.getsignal(2), signal.getsignal(15); import diip_jax.startup; "
    check = "assert (signal.getsignal(2), signal.getsignal(15)) == before"
    assert subprocess.run([sys.executable, "-c", lines + check], capture_output=True).returncode == 0

"""What the commands share: exit codes, help, and paths."""

from pathlib import Path

import jax
import pytest
from absl import flags

from diip_jax import command


def call(capsys, *arguments, mistake=None):
    values = flags.FlagValues()
    flags.DEFINE_integer("size", 1, "how large", lower_bound=1, flag_values=values)
    flags.DEFINE_boolean("help", False, "show this", flag_values=values)

    def body(parsed):
        if mistake:
            raise mistake
        print(parsed.size)

    code = command.run("prog", "What it does.", values, body, arguments)
    return (code, *capsys.readouterr())


def test_the_command_gets_its_flags(capsys):
    assert call(capsys, "--size=3") == (0, "3\n", "")


def test_help_runs_nothing(capsys):
    code, out, err = call(capsys, "--help")
    assert (code, err) == (0, "") and out.startswith("What it does.\n") and "how large" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--sice=3"], "sice"),
        (["--size=0"], "size=0"),
        (["photo.png"], "unexpected argument 'photo.png': everything is given by flags, see --help"),
    ],
)
def test_wrong_usage_is_one_line_and_2(capsys, arguments, says):
    code, out, err = call(capsys, *arguments)
    assert (code, out) == (2, "") and err.startswith("prog: error: ") and says in err and err.count("\n") == 1


def test_a_users_mistake_is_its_first_line_and_2_and_a_fault_is_not_hidden(capsys):
    assert call(capsys, mistake=ValueError("too blue\nmore")) == (2, "", "prog: error: too blue\n")
    with pytest.raises(ZeroDivisionError):
        call(capsys, mistake=ZeroDivisionError())


def test_flags_that_are_given_are_refused_by_name_and_defaults_pass():
    values = command.prior_flags()
    values(["prog", "--dtype=float32"])
    command.refuse_given(values, ("checkpoint", "class_label"), "why")
    with pytest.raises(command.UsageError, match=r"^--dtype: why$"):
        command.refuse_given(values, ("checkpoint", "dtype"), "why")


def test_results_go_to_stdout_and_the_course_to_stderr(capsys):
    command.tell("a\nb\n")
    command.tell("c")
    command.report("d")
    assert capsys.readouterr() == ("a\nb\nc\n", "d\n")


def test_paths_may_begin_with_a_tilde(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert command.expanded("output", "~/x") == Path("/home/me/x")
    with pytest.raises(command.UsageError, match="--output=~nobody-here/x: there is no such home directory; give the"):
        command.expanded("output", "~nobody-here/x")


@pytest.mark.parametrize("error", [RuntimeError("Unable to initialize backend 'cuda':\nno GPU"), AssertionError()])
def test_without_a_device_it_is_one_line_that_says_what_helps(error, monkeypatch):
    def fail():
        raise error

    monkeypatch.setattr(jax, "devices", fail)
    with pytest.raises(command.UsageError, match=r"JAX finds no device to compute .*JAX_PLATFORMS=cpu") as caught:
        command.check_devices()
    assert "\n" not in str(caught.value)

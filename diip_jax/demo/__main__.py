"""Serves a web page on which pictures are restored: drop one, watch it form, save it.

python -m diip_jax.demo, then open http://127.0.0.1:7860. Only this computer can reach the page unless --host says
otherwise; there is no password. Nothing is sent anywhere, and uploads are deleted as soon as they are read.
"""

import importlib.util
import os
import tempfile
from collections.abc import Sequence

from absl import flags

from diip_jax import command, startup
from diip_jax.launch.program_cache import keep_compiled_programs
from diip_jax.launch.setup import SMALL
from diip_jax.methods import Blind
from diip_jax.prior import load_prior, read_card

PROGRAM = "diip_jax.demo"


def _flag_values() -> flags.FlagValues:
    values = command.prior_flags()
    flags.DEFINE_string("host", "127.0.0.1", "address to listen at; 0.0.0.0 for every network", flag_values=values)
    flags.DEFINE_integer("port", 7860, "port", lower_bound=1, upper_bound=65535, flag_values=values)
    flags.DEFINE_integer("at_once", 1, "restorations at the same time", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("waiting", 8, "visitors that may wait", lower_bound=1, flag_values=values)
    flags.DEFINE_float("megabytes", 20.0, "of an upload, at most", lower_bound=0.001, flag_values=values)
    flags.DEFINE_float("megapixels", 50.0, "of a picture, at most", lower_bound=0.001, flag_values=values)
    flags.DEFINE_integer("side", 768, "of a photograph, at most", lower_bound=64, flag_values=values)
    flags.DEFINE_float("seconds", 300.0, "of a restoration, at most", lower_bound=0.1, flag_values=values)
    flags.DEFINE_integer("max_iterations", Blind.max_iterations, "of a restoration", lower_bound=1, flag_values=values)
    return values


def _serve(values: flags.FlagValues) -> None:
    if importlib.util.find_spec("gradio") is None:
        raise command.UsageError('the page needs Gradio; run: pip install "diip_jax[demo]"')
    priors = [command.prior_of(values)]
    if priors[0].model.in_channels not in (1, 3):
        channels = priors[0].model.in_channels
        raise command.UsageError(f"the prior has {channels} channels; give one of grey (1) or RGB (3)")
    if values.checkpoint is None:  # as `launch` chooses between them
        priors.append(load_prior("photos", dtype=values.dtype))
    keep_compiled_programs()
    with tempfile.TemporaryDirectory(prefix="diip_jax_demo_") as uploads:
        # Before Gradio is imported: what it receives lies here until it is read, and is gone with the page.
        os.environ["GRADIO_TEMP_DIR"] = uploads
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        from diip_jax.demo.page import page
        from diip_jax.demo.restoration import Limits
        from diip_jax.demo.serving import serve

        limits = Limits(values.megapixels, values.side, values.seconds, values.max_iterations)
        kind, terms = _told(values.checkpoint, priors[0].image_shape)
        blocks = page(priors, limits, kind, terms, values.waiting, values.at_once)
        serve(blocks, values.host, values.port, values.megabytes)


def _told(checkpoint: str | None, shape: tuple[int, int, int]) -> tuple[str, str]:
    """(what pictures are known, the terms of the weights), for the visitor."""
    size = f"{shape[0]}x{shape[1]}"
    if checkpoint is None:
        kind = f"aligned faces of up to {SMALL} pixels, and of larger photographs what is near each pixel"
        return kind, "The weights are for non-commercial research only."
    card = read_card(checkpoint)
    kind = f"pictures like those that it was trained on, of {size} pixels"
    if card is None or not card.terms:
        return kind, ""
    return kind, f"Terms of its weights: {card.terms}."


def main(arguments: Sequence[str]) -> int:
    """Runs the command with these arguments (`sys.argv[1:]`); returns the exit code."""
    return command.run(PROGRAM, str(__doc__), _flag_values(), _serve, arguments)


if __name__ == "__main__":
    startup.run(main)

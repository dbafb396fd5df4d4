"""Random-weight torch files with the true names and shapes of every preset; as a script, what they cost at full size.

    python tests/preset_files.py [--folder=/tmp] [--side=64] [PRESET ...]

Writes a file per network (or per preset named), converts it with the command, loads the checkpoint in a fresh process,
evaluates the network once at its own image size and restores a picture of --side pixels, and prints a row of seconds
and peak memory for each. The largest file has 2.2 GB; files and checkpoints are removed again. Not part of the tests:
they check the same names and shapes without weights.
"""

import argparse
import functools
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from adm_network import adm_shapes, random_state
from torch_networks import DDPMNetwork

from diip_jax.convert.families import PRESETS, Preset
from diip_jax.models.ddpm_unet import DDPMUNetConfig

# One name of each network; the others are the same.
NETWORKS = {preset: name for name, preset in reversed(PRESETS.items())}


@functools.cache
def file_shapes(preset: Preset) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the preset's file; takes no memory."""
    if not isinstance(preset.model, DDPMUNetConfig):
        return adm_shapes(preset, image_convolutions=preset.prediction != "epsilon")
    with torch.device("meta"):
        state = DDPMNetwork(preset.model).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def write_file(preset: Preset, path: str) -> None:
    """A file of random weights as torch writes it."""
    state = random_state(file_shapes(preset))
    torch.save({name: torch.from_numpy(array) for name, array in state.items()}, path)


def load_and_run(checkpoint: str, side: int) -> dict[str, float]:
    """Seconds of loading, of the first evaluation at full size and of a restoration's two; peak memory in GB."""
    import jax

    import diip_jax
    from diip_jax.prior import Prior

    started = time.monotonic()
    prior = diip_jax.load_prior(checkpoint)
    jax.block_until_ready(prior.params)
    loaded = time.monotonic()
    after_loading = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    x = jax.random.normal(jax.random.key(0), (1, *prior.image_shape))
    output = jax.block_until_ready(jax.jit(Prior.eps)(prior, x, np.array([500])))
    evaluated = time.monotonic()
    y = np.random.default_rng(0).uniform(-1, 1, (1, side, side, prior.model.in_channels)).astype(np.float32)
    stride = prior.schedule.num_timesteps // 2
    restored = diip_jax.restore(diip_jax.DIIP(prior, stride=stride, max_iterations=1), y)
    assert np.isfinite(output).all() and np.isfinite(restored.images).all()
    return {
        "load_seconds": loaded - started,
        "load_peak": after_loading * 1024 / 1e9,
        "forward_seconds": evaluated - loaded,
        "restore_seconds": time.monotonic() - evaluated,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }


def measure(name: str, folder: Path, side: int) -> str:
    """One row of the table."""
    source, checkpoint = folder / f"{name}.pt", folder / name

    def python(*arguments: str) -> str:
        return subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True).stdout

    # In a process of its own: the peak that Linux reports of a process is never below its parent's.
    python(__file__, name, f"--write={source}")
    size = source.stat().st_size / 1e9
    said = python("-m", "diip_jax.convert", f"--source={source}", f"--output={checkpoint}", f"--preset={name}")
    source.unlink()
    found = re.search(r": ([\d,]+) parameters, .* in ([\d.]+) s, peak memory ([\d.]+) GB", said)
    assert found is not None, said
    count, seconds, peak = found.groups()
    ran = json.loads(python(__file__, f"--load={checkpoint}", f"--side={side}"))
    return (
        f"| {name} | {count} | {size:.2f} | {seconds} | {peak} ({float(peak) / size:.2f}) "
        f"| {ran['load_seconds']:.1f} | {ran['load_peak']:.2f} | {ran['forward_seconds']:.1f} "
        f"| {ran['restore_seconds']:.1f} | {ran['peak']:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", choices=[[], *PRESETS], help="without any: one name of each network")
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where files and checkpoints are put")
    parser.add_argument("--side", type=int, default=64, help="of the restored picture, in pixels")
    parser.add_argument("--write", help=argparse.SUPPRESS)
    parser.add_argument("--load", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write_file(PRESETS[arguments.presets[0]], arguments.write)
        return
    if arguments.load:
        print(json.dumps(load_and_run(arguments.load, arguments.side)))
        return
    print("| preset | parameters | file (GB) | convert (s) | peak (GB, of the file) | load (s) | peak (GB) ", end="")
    print(f"| compile and evaluate (s) | restore {arguments.side}x{arguments.side} (s) | peak (GB) |")
    print(f"|{'---|' * 10}", flush=True)
    for name in arguments.presets or NETWORKS.values():
        with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
            print(measure(name, Path(scratch), arguments.side), flush=True)


if __name__ == "__main__":
    main()

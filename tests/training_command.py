"""The training command on a network that compiles in a second: in this process, or in processes that can be killed.

`python training_command.py` kills such a training ten times at random moments and compares the weights with those of an
undisturbed one.
"""

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from command_line import own_programs
from PIL import Image

from diip_jax.prior import read_card, read_metadata

NETWORK = [
    "--image_size=8",
    "--block_channels=8",
    "--norm_groups=4",
    "--attention_levels=false",
    "--nomiddle_attention",
]
STEPS = 60
SETTINGS = [*NETWORK, "--batch_size=4", "--warmup_steps=10", f"--max_steps={STEPS}", "--save_every=20", "--log_every=1"]


def write_pictures(folder: Path, count: int = 12, size: tuple[int, int] = (9, 10)) -> Path:
    """Smooth random pictures of (height, width) `size`."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for n in range(count):
        small = Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8))
        small.resize(size[::-1], Image.Resampling.BICUBIC).save(folder / f"{n:02}.png")
    return folder


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "diip_jax.train", *SETTINGS, *map(str, arguments)]


def start(cache: Path, *arguments: object, devices: int = 2) -> subprocess.Popen[str]:
    """The command in a process of its own, on so many devices; its lines come on stderr."""
    xla = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
    xla += f" --xla_force_host_platform_device_count={devices}"
    environment = own_programs(cache) | {"XLA_FLAGS": xla, "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(command(*arguments), env=environment, stderr=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen[str], beginning: str) -> list[str]:
    """Reads lines until one begins so; all of them up to there."""
    lines = []
    assert process.stderr is not None
    for line in process.stderr:
        lines.append(line.rstrip("\n"))
        if line.startswith(beginning):
            return lines
    raise AssertionError(f"the command ended before it said {beginning!r}: {lines}")


def sha256_of(prior: Path) -> str:
    """Of a finished prior's weights."""
    card = read_card(prior)
    assert card is not None and card.images_seen == 4 * STEPS
    return read_metadata(prior)["provenance"]["params_sha256"]


def kill_at_random(kills: int, seed: int) -> None:
    """Prints where each kill hit, and whether the weights are the same."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        given = [f"--images={write_pictures(folder / 'pictures')}", "--heldout_every=20", "--samples_every=30"]
        began = time.monotonic()
        start(folder / "cache", *given, f"--output_dir={folder / 'undisturbed'}").communicate()
        # Every run is killed somewhere in the time that a whole one takes: at the start, in a step, in a save.
        seconds = time.monotonic() - began
        done = 0
        while done < kills:
            process = start(folder / "cache", *given, f"--output_dir={folder / 'killed'}")
            try:
                _, told = process.communicate(timeout=rng.uniform(0.3, 1.0) * seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                _, told = process.communicate()
                done += 1
                print(f"kill {done}: after {told.splitlines()[-1] if told else 'nothing'}", flush=True)
                continue
            print(f"finished after {done} kills; begins anew", flush=True)
            assert sha256_of(folder / "killed") == sha256_of(folder / "undisturbed")
            subprocess.run(["rm", "-r", folder / "killed", folder / "killed.training"], check=True)
        start(folder / "cache", *given, f"--output_dir={folder / 'killed'}").communicate()
        same = sha256_of(folder / "killed") == sha256_of(folder / "undisturbed")
        print(
            f"{kills} kills: the weights are {'the same' if same else 'others'}, sha256 {sha256_of(folder / 'killed')}"
        )
        sys.exit(0 if same else 1)


if __name__ == "__main__":
    kill_at_random(kills=10, seed=0)

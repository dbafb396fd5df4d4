"""Prints setup.cfg's lower bounds as pip constraints: the oldest dependencies that are promised to work."""

import configparser
import re
from pathlib import Path

config = configparser.ConfigParser()
config.read(Path(__file__).resolve().parent.parent / "setup.cfg")
extras = ("convert", "evaluate", "lpips", "plots", "train")
listed = [config["options"]["install_requires"], *(config["options.extras_require"][extra] for extra in extras)]
for name, bound in re.findall(r"^([\w-]+)>=([\d.]+)$", "\n".join(listed), re.MULTILINE):
    if name != "torch":  # of another index, in a step before
        print(f"{name}=={bound}.*")

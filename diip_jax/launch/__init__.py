"""The command line that restores image files: `python -m diip_jax.launch --image=PATH`; see `--help`."""

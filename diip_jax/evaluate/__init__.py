"""Evaluation with a fixed protocol: `python -m diip_jax.evaluate`.

corruptions       degraded images, deterministic per image and seed
trajectories      every iterate of a run, kept in files: any stopping rule can be judged without running it again
tables            rules replayed on trajectories, means with confidence intervals, markdown and JSON
rules             how near stopping rules come to the best iterate
noise_prediction  the training loss of a prior by timestep: how well it knows a set of images
"""

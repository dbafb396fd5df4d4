"""Evaluation with a fixed protocol: `python -m diip_jax.evaluate`, and `python -m diip_jax.evaluate.figures`.

corruptions       degraded images, deterministic per image and seed
trajectories      every iterate of a run, kept in files: any stopping rule can be judged without running it again
one_shot          restorations without iterates, kept alike
baselines         what methods are compared with
restorers         baselines as one_shot takes them
costs             seconds, network evaluations and memory
tables            rules replayed on trajectories, the rows of a table
table_text        means with confidence intervals, as markdown
entries           what a table compares
protocol          which methods, settings, rules and numbers of images make a table
runs              entries run on tasks
drawings          curves and grids of images
noise_prediction  the training loss of a prior by timestep: how well it knows a set of images
"""

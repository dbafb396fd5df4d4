"""Training a prior on pictures of one's own: `python -m diip_jax.train`.

pictures      pictures of a folder, a zip or an npz, by their number
cuts          from a picture to an image of the network's size, at random or not
batches       the endless, reproducible sequence of batches, decoded in parallel with the device
objective     loss, timesteps and weighting
step          one step of the training: gradients over all devices, optimiser, averaged weights
checkpoints   the state of a training on disk, and the prior that it has made so far
progress      what a training tells while it runs
run           the training itself
"""

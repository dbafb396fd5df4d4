"""What restorations are compared with, besides the methods of `diip_jax.methods`.

classical   non-local means, total variation and unsupervised Wiener deconvolution, from scikit-image

Each has functions that take and return uint8 images `[n, H, W, C]`.
"""

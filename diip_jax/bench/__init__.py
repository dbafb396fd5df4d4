"""What a restoration costs: `python -m diip_jax.bench`.

measure          arithmetic of the loop, and the loop without the network
ceiling          what the machine's largest convolution and matrix product reach
torch_reference  the same iteration in torch
"""

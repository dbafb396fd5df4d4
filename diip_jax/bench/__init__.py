"""What a restoration costs: `python -m diip_jax.bench`.

measure          time, compilation and memory of the loop
ceiling          what the machine's largest convolution and matrix product reach
torch_reference  the same iteration in torch
"""

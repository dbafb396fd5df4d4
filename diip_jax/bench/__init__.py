"""What a restoration and a training cost: `python -m diip_jax.bench`.

measure          arithmetic of the loop, and the loop without the network
ceiling          what the machine's largest convolution and matrix product reach
training         a step of the training
torch_reference  the same iteration, and the same step, in torch
"""

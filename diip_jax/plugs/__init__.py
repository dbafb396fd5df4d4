"""What a restoration is put together from; a plug of one's own is a class beside one's own code.

generators  u -> image: DDIM of a frozen prior, an untrained network
operators/  what happened to the image: H_eta
losses      how a prediction is compared with the observation
rules/      when to stop, and which iterate to return
optimizers  any optax transformation, by its maker and settings
monitors    what can be traced of every iterate
"""

"""How weights change: the train step with its summed loss and decay, the losses, the optimizers.

It may import layers and kernels.
"""

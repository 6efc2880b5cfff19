"""The networks: DavidNet and FastNet, a recipe made a compiled model, averaged views, the cost in FLOP.

It may import training, data, layers and kernels.
"""

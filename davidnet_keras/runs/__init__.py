"""From a recipe to a run folder and back: train, resume, series of runs, evaluate, predict.

It may import models, training, data, layers, kernels and davidnet_callbacks.
"""

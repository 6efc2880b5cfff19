"""The parts that networks are made of, written in keras.ops.

It may import kernels.
"""

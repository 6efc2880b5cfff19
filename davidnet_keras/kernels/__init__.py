"""Arithmetic for one backend or processor: Winograd's convolution, fused loops, draws of random numbers.

It imports no other room.
"""

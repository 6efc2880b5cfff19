"""The command line: one module a command, its flags, what it prints and its exit code.

It may import every room below: runs, models, training, data, layers, kernels.
"""

"""Where pictures come from, and how they become batches: files, augmentation, pipelines.

It may import layers and kernels.
"""

"""Images, texts and labels as tensors: inputs, splits, label budgets, sampling, augmentation.

Imports no other package of Graft.
"""

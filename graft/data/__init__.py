"""Images, texts and labels as tensors: inputs, splits, label budgets, sampling, augmentation.

Uses nothing else of Graft.
"""

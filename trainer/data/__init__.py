"""Photos on disk to arrays: folders and splits, duplicates, views, augmentation, caches of decoded pixels.

Decoding is `gateway.images`. May import `trainer.network` (for the names of ImageNet's classes), not the other stages.
"""

"""Photos on disk to arrays: folders and splits, duplicates, views, augmentation, caches of decoded pixels.

Imports nothing else of the trainer but its errors and console; decoding is `gateway.images`.
"""

"""Keras models: backbones, their weights, the head, and the names of their classes."""

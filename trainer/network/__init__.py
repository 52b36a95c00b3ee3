"""Keras models: backbones, their weights, the head, and the names of their classes.

May import no other stage of the trainer.
"""

"""Raise the share of a new version step by step, and take it back as soon as a sequential test objects.

May import `trainer.registry`, no other stage.
"""

"""Classify photos without labels, with a model in this process or a running gateway; the command `predict`.

May import `trainer.data`, `evaluation`, `export` and `registry`, not `training`.
"""

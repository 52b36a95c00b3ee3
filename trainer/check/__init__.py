"""Find problems in a folder of photos before training: the command `check`.

May import `trainer.data` and `network`, and `training` for cross-validation and `evaluation` for its page.
"""

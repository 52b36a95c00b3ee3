"""Published versions: publishing, promoting, and the configuration of the model server.

May import `trainer.evaluation` and `trainer.export`, which the gate of `promote` uses.
"""

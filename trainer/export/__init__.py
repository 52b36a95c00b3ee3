"""A trained model as a SavedModel that follows the model contract, and as files for other runtimes.

May import every stage of the trainer except `trainer.check` and `trainer.rollout`.
"""

"""From data and a network to a trained model: bottleneck features, fitting, fine-tuning, the commands that train.

May import every stage of the trainer except `trainer.prediction` and `trainer.rollout`.
"""

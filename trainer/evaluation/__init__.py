"""How good a model is: metrics, calibration, the report and its plots, benchmarks.

May import `trainer.data`, `export` and `prediction`, not `network`, `training`, `registry` or `rollout`.
"""

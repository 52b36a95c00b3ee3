"""How good a model is: metrics, calibration, the report and its plots, benchmarks."""

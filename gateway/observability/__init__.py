"""What is recorded of requests: ids, log lines, metrics, traces.

`serving`, `inference`, `prediction_log` and `http` may import this package. It imports none of them.
"""

"""What is recorded of requests: ids, log lines, metrics, traces.

May import `gateway.settings` only. `workers`, `tensors`, `images` and `security` may not import this package.
"""

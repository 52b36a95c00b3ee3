"""What is recorded of requests: ids, log lines, metrics, traces.

Every package may import this one; it imports none of them.
"""

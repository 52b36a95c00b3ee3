"""Tensors: NumPy arrays, their wire format, their forms in JSON, and the check against a signature.

May import `gateway.pb` and `gateway.errors` only. All of it except `wire` runs in worker processes.
"""

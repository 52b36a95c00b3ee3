"""Tensors: NumPy arrays, their wire format, their forms in JSON, and the check against a signature.

May import `gateway.pb` and `gateway.errors` only. Whatever reads the tensors of a request runs in worker processes.
"""

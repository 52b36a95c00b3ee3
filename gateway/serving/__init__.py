"""The interface to a model server, its gRPC client, and the contracts of the models that it serves.

May import `gateway.tensors`. Knows nothing of HTTP, uploads or workers.
"""

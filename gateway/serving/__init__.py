"""The interface to a model server, its gRPC client, and the contracts of the models that it serves.

May import `gateway.tensors`, `gateway.images` and `gateway.observability`. Knows nothing of HTTP, uploads or workers.
"""

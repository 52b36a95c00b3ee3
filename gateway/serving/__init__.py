"""The model server: the seam to it, its gRPC client, and the contracts of the models that it serves.

May import `gateway.tensors`. Knows nothing of HTTP, uploads or workers.
"""

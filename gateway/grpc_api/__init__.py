"""The gRPC port: TensorFlow Serving's services, the Open Inference Protocol and health checks.

A module for each interface, a module for what happens around every call (`calls`), and the server. Messages with
tensors are parsed in worker processes; here, only their top-level fields are read. May import `gateway.services` and
what lies below it, not `gateway.http`.
"""

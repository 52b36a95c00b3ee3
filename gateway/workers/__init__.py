"""Worker processes, for everything that reads what callers sent.

The event loop hands a job (a name, JSON arguments and buffers) to a `WorkerPool` and awaits the reply. The work itself
runs in a process with limits on memory and CPU time, forked from a small fork server, and killed at the request's
deadline, when the caller disconnects, or when it exceeds its limits.

May import `gateway.images` and `gateway.tensors`, but neither HTTP nor gRPC.
"""

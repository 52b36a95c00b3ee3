"""Request IDs, logs, metrics and traces.

Every package may import this one. It imports only `gateway.settings`.
"""

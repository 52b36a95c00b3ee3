"""The HTTP server: one connection, its framing and its bounds, on top of uvicorn.

Knows neither routes nor services; `gateway.app` passes what it needs as `ConnectionOptions`.
"""

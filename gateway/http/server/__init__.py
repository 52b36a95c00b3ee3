"""The HTTP server: connections with their framing and limits, on top of uvicorn.

Knows neither routes nor middleware; `gateway.app` passes what it needs as `ConnectionOptions`.
"""

"""Plain ASGI middleware, one concern for each module. May not import `gateway.http.routes`."""

"""HTTP: the server, the middleware and the routes.

Turns requests into calls of `gateway.inference`, and results and errors into responses. Only `gateway.app` may import
it.
"""

"""HTTP: the server, the middleware and the routes.

Turns requests into calls of `gateway.services` and `gateway.inference`, and results and errors into responses. Only
`gateway.app` and `gateway.__main__` may import it.
"""

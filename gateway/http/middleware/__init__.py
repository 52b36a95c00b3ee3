"""Plain ASGI middleware: what happens around every request, one concern a module."""

"""Fetch images by URL, from servers that the operator allows. Off by default.

May import `gateway.errors` and `gateway.deadline` only. Knows nothing of FastAPI.
"""

"""Who may call, and how often: API keys and rate limits.

May import `gateway.errors` only.
"""

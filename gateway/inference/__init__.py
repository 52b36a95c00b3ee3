"""From an upload to an answer: preprocessing, batching, the call to a model server, scores and labels.

May import `gateway.serving`, `gateway.workers`, `gateway.observability` and what lies below them. Knows nothing of
HTTP.
"""

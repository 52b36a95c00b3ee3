"""The prediction log: what was asked and answered, what people said about it, and the photos, in plain files.

Routes hand answers to `PredictionLog` after they are complete; everything else happens off the request path. A log that
cannot keep up drops records and counts them. May import `gateway.inference`, `gateway.workers`,
`gateway.observability` and `gateway.settings`.
"""

"""What HTTP and gRPC share: the services of the running app, and the requests that both interfaces have.

May import `gateway.prediction_log` and what lies below it. Knows neither FastAPI nor the gRPC server.
"""

"""A gRPC model server for SavedModels that stands in for ``tensorflow_model_server``."""

import signal

__version__ = "0.2.0"

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""Signals that stop the server. They are blocked, and a thread waits for them."""

"""A gRPC model server for SavedModels that stands in for ``tensorflow_model_server``."""

__version__ = "0.2.0"

"""An HTTP gateway for image classifiers on TensorFlow Serving."""

__version__ = "0.2.0"

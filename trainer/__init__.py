"""Trains, evaluates, exports and publishes image classifiers."""

import os

__version__ = "0.2.0"

# Both are read when TensorFlow and Keras are first imported, by whichever module of this package comes first.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

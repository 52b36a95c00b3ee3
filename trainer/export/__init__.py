"""A trained model as a SavedModel that keeps the model contract: signatures, parity, warm-up, precision."""

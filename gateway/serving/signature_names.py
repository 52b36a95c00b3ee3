"""What the names of inputs and outputs suggest in exports of common tools."""

from __future__ import annotations

import re
from typing import Final

IMAGES: Final = re.compile(r"image|img|photo|picture|jpe?g|png", re.IGNORECASE)
NO_IMAGES: Final = re.compile(
    r"b64|base64|ur[il]|path|file_?name|text|sentence|question|quer(?:y|ies)|example|token|word|prompt|document|title",
    re.IGNORECASE,
)
SCORES: Final = re.compile(r"prob|softmax|sigmoid|score|predictions", re.IGNORECASE)
BOXES: Final = re.compile(r"box(?:es)?(?:$|_)", re.IGNORECASE)
FEATURES: Final = re.compile(r"embed|feature", re.IGNORECASE)
KEY: Final = re.compile(r"keys?", re.IGNORECASE)
"""Input of AutoML's exports that is returned unchanged. The whole name must match."""

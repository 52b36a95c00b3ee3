"""Calls of Hugging Face's own Python client: ``hugging_face_client.py MODEL_URL PHOTO`` prints what came back as JSON.

It runs in an environment of its own.
"""

import json
import sys
from pathlib import Path

from huggingface_hub import ImageClassificationOutputElement, InferenceClient
from huggingface_hub.errors import HfHubHTTPError


def labels(answer: list[ImageClassificationOutputElement]) -> list[str]:
    assert all(0 <= one.score <= 1 for one in answer)
    return [one.label for one in answer]


def main(url: str, photo: Path) -> dict[str, object]:
    by_model, by_address = InferenceClient(model=url), InferenceClient(base_url=url, token="anything")
    try:
        by_model.image_classification(b"not an image")
        refused = ""
    except HfHubHTTPError as error:
        refused = str(error)
    return {
        "bytes": labels(by_model.image_classification(photo.read_bytes())),
        "path": labels(by_model.image_classification(photo)),
        "top_k": labels(by_address.image_classification(photo, top_k=2)),
        "call_model": labels(InferenceClient().image_classification(str(photo), model=url, top_k=1)),
        "refused": refused,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], Path(sys.argv[2]))))

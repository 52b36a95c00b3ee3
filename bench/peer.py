"""What people use today: FastAPI with the model inside, called in the endpoint. Run as ``python -m bench.peer``.

It is the strong form of that: the exported SavedModel, called by its signature in the thread pool, decoded by the same
function as in the gateway. The weak form, ``model.predict`` of Keras, is several times as slow.
"""

import argparse
import json
from pathlib import Path
from typing import Annotated

import numpy as np
import tensorflow as tf
import uvicorn
from fastapi import FastAPI, File

from gateway.images import Target, decode_image

TOP_K = 5


def make_app(model_dir: Path, card_file: Path) -> FastAPI:
    """The app for the SavedModel in a folder, with labels and input size from a model card."""
    model = tf.saved_model.load(str(model_dir))
    predict = model.signatures["pixels"]
    card = json.loads(card_file.read_text())
    labels = card["labels"]
    size = card["input"]
    target = Target(size["height"], size["width"], size["fit"], size["interpolation"])
    predict(images=tf.zeros((1, size["height"], size["width"], 3), tf.uint8))
    app = FastAPI()

    @app.post("/predict")
    def answer(dog_image: Annotated[bytes, File()]) -> dict[str, object]:
        pixels = decode_image(dog_image, target)
        scores = predict(images=tf.constant(pixels[None]))["probabilities"].numpy()[0]
        best = np.argsort(-scores, kind="stable")[:TOP_K]
        predictions = [{"label": labels[index], "score": round(float(scores[index]), 6)} for index in best]
        return {"breed": predictions[0]["label"], "predictions": predictions}

    return app


def main() -> None:
    """Serves until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m bench.peer")
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("card", type=Path)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    uvicorn.run(make_app(arguments.model_dir, arguments.card), host="127.0.0.1", port=arguments.port, access_log=False)


if __name__ == "__main__":
    main()

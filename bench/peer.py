"""The common alternative: a FastAPI app that calls the model in its endpoint. Run as ``python -m bench.peer``.

It is an optimised form: it calls the exported model in the thread pool and decodes with the same function as the
gateway. With TensorFlow, it runs a signature of the SavedModel; with OpenVINO, the network beside it, in streams as in
the model server. The simple form, ``model.predict`` of Keras, is several times slower.
"""

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import uvicorn
from fastapi import FastAPI, File

from gateway.images import Target, decode_image

TOP_K = 5

Predict = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
"""Images uint8 (1, height, width, 3) to probabilities float32 (1, classes)."""


def by_tensorflow(model_dir: Path) -> Predict:
    """The signature ``pixels`` of the SavedModel in a folder."""
    import tensorflow as tf

    signature = tf.saved_model.load(str(model_dir)).signatures["pixels"]

    def predict(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        scores: npt.NDArray[np.float32] = signature(images=tf.constant(images))["probabilities"].numpy()
        return scores

    return predict


def by_openvino(model_dir: Path) -> Predict:
    """The OpenVINO network of the export in a folder, with one stream for each core."""
    from modelserver.openvino_runtime import ov

    core, streams = ov.Core(), os.cpu_count() or 1
    network = core.read_model(model_dir / "assets.extra" / "openvino" / "network.xml")
    [output] = [one for one in network.outputs if one.any_name == "probabilities"]
    part = ov.Model([output], network.get_parameters(), "pixels")
    part.reshape([1, *part.inputs[0].partial_shape[1:]])
    compiled = core.compile_model(part, "CPU", {"NUM_STREAMS": streams, "INFERENCE_PRECISION_HINT": "f32"})
    free: SimpleQueue[Any] = SimpleQueue()
    for _ in range(streams):
        free.put(compiled.create_infer_request())

    def predict(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        request = free.get()
        try:
            scores: npt.NDArray[np.float32] = request.infer(images)[0]
        finally:
            free.put(request)
        return scores

    return predict


def make_app(predict: Predict, card_file: Path) -> FastAPI:
    """The app around a model, with labels and input size from a model card."""
    card = json.loads(card_file.read_text())
    labels = card["labels"]
    size = card["input"]
    target = Target(size["height"], size["width"], size["fit"], size["interpolation"])
    predict(np.zeros((1, size["height"], size["width"], 3), np.uint8))
    app = FastAPI()

    @app.post("/predict")
    def answer(dog_image: Annotated[bytes, File()]) -> dict[str, object]:
        pixels = decode_image(dog_image, target)
        scores = predict(pixels[None])[0]
        best = np.argsort(-scores, kind="stable")[:TOP_K]
        predictions = [{"label": labels[index], "score": round(float(scores[index]), 6)} for index in best]
        return {"breed": predictions[0]["label"], "predictions": predictions}

    return app


def main() -> None:
    """Serves until it is stopped."""
    parser = argparse.ArgumentParser(prog="python -m bench.peer")
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("card", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--engine", choices=["tensorflow", "openvino"], default="tensorflow")
    arguments = parser.parse_args()
    load = by_openvino if arguments.engine == "openvino" else by_tensorflow
    app = make_app(load(arguments.model_dir), arguments.card)
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, access_log=False)


if __name__ == "__main__":
    main()

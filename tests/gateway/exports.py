"""Models in the forms in which people export them."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image

from gateway.pb import serving_pb2 as pb
from gateway.pb.serving_pb2 import DataType
from gateway.tensors.wire import Array, array_of
from testing.colour_scores import COLOURS, colour_scores
from testing.colour_server import Tensors, signature
from testing.tensors import number_tensor, string_tensor

FLOAT, HALF, DOUBLE, BFLOAT16 = DataType.DT_FLOAT, DataType.DT_HALF, DataType.DT_DOUBLE, DataType.DT_BFLOAT16
UINT8, INT32, INT64, STRING = DataType.DT_UINT8, DataType.DT_INT32, DataType.DT_INT64, DataType.DT_STRING
BOOL = DataType.DT_BOOL

Inputs = Mapping[str, Array]
Outputs = Mapping[str, pb.Tensor]


@dataclass(frozen=True)
class Export:
    """A model with any signatures; `answer` gets the inputs of whichever was called."""

    inputs: Tensors
    outputs: Tensors
    answer: Callable[[Inputs], Outputs]
    key: str = "serving_default"
    others: Mapping[str, tuple[Tensors, Tensors]] = field(default_factory=dict)
    method: str = "tensorflow/serving/predict"

    def signatures(self) -> dict[str, pb.SignatureDef]:
        described = {key: signature(*one) for key, one in self.others.items()}
        bookkeeping: Tensors = {"__saved_model_init_op": (DataType.DT_INVALID, ())}
        described["__saved_model_init_op"] = signature({}, bookkeeping)
        called = signature(self.inputs, self.outputs)
        called.method_name = self.method
        return {**described, self.key: called}

    def predict(self, name: str, inputs: Mapping[str, pb.Tensor]) -> Outputs:
        assert name == self.key
        assert set(inputs) == set(self.inputs)
        for key, tensor in inputs.items():
            assert tensor.dtype == self.inputs[key][0]
        return self.answer({key: array_of(tensor, max_elements=10**7) for key, tensor in inputs.items()})


def decoded(strings: Array) -> npt.NDArray[np.generic]:
    files = strings.ravel().tolist()
    return np.stack([np.asarray(Image.open(io.BytesIO(one)).convert("RGB").resize((8, 8))) for one in files])


def scored(images: Array) -> npt.NDArray[np.float32]:
    return colour_scores(decoded(images) if images.dtype == object else images)


def plain(name: str = "x", output: str = "y") -> Callable[[Inputs], Outputs]:
    return lambda inputs: {output: number_tensor(scored(inputs[name]))}


def shaped(*shape: int, dtype: object = np.float32) -> Callable[[Inputs], Outputs]:
    def answer(inputs: Inputs) -> Outputs:
        scores = scored(inputs["x"])
        return {"y": number_tensor(scores.reshape(len(scores), *shape).astype(dtype))}  # type: ignore[call-overload]

    return answer


def best_first(labels: str, name: str = "x", *, indexes: bool = False) -> Callable[[Inputs], Outputs]:
    """The two best classes of each image by name or by index."""

    def answer(inputs: Inputs) -> Outputs:
        scores = scored(inputs[name])
        order = np.argsort(-scores, axis=1)[:, :2]
        names = [COLOURS[index].encode() for index in order.ravel().tolist()]
        named = number_tensor(order.astype(np.int64)) if indexes else string_tensor(names, order.shape)
        return {labels: named, "scores": number_tensor(np.take_along_axis(scores, order, 1))}

    return answer


def best_and_all(inputs: Inputs) -> Outputs:
    """What a classifier of `tf.estimator` answers."""
    scores = scored(inputs["x"])
    names = [colour.encode() for colour in COLOURS]
    best = scores.argmax(1)
    return {
        "all_class_ids": number_tensor(np.tile(np.arange(3, dtype=np.int32), (len(scores), 1))),
        "all_classes": string_tensor(names * len(scores), scores.shape),
        "class_ids": number_tensor(best[:, np.newaxis].astype(np.int64)),
        "classes": number_tensor(best.astype(np.int64)),
        "logits": number_tensor(np.log(scores + 1e-6)),
        "probabilities": number_tensor(scores),
    }


def with_key(inputs: Inputs) -> Outputs:
    assert inputs["key"].shape == inputs["image_bytes"].shape
    return {**best_first("labels", "image_bytes")(inputs), "key": string_tensor(inputs["key"].tolist())}


def beside(**expected: object) -> Callable[[Inputs], Outputs]:
    """Scores of `x`, if the other inputs have the expected values."""

    def answer(inputs: Inputs) -> Outputs:
        for name, value in expected.items():
            assert inputs[name].tolist() == np.broadcast_to(np.asarray(value), inputs[name].shape).tolist(), name
        return {"y": number_tensor(scored(inputs["x"]))}

    return answer


def as_bfloat16(inputs: Inputs) -> Outputs:
    bits = scored(inputs["x"]).view(np.uint32) >> 16
    tensor = pb.Tensor(dtype="DT_BFLOAT16", tensor_content=bits.astype("<u2").tobytes())
    for size in bits.shape:
        tensor.tensor_shape.dim.add(size=size)
    return {"y": tensor}


def two_outputs(inputs: Inputs) -> Outputs:
    scores = scored(inputs["x"])
    return {"logits": number_tensor(np.log(scores + 1e-6)), "probabilities": number_tensor(scores)}


def one_image(inputs: Inputs) -> Outputs:
    assert inputs["x"].shape[0] == 1
    return {"y": number_tensor(scored(inputs["x"]))}


def three_images(inputs: Inputs) -> Outputs:
    assert inputs["x"].shape[0] == 3
    return {"y": number_tensor(scored(inputs["x"]))}


def logits(inputs: Inputs) -> Outputs:
    return {"y": number_tensor(50 * scored(inputs["x"]) - 30)}


def best_only(inputs: Inputs) -> Outputs:
    scores = scored(inputs["x"])
    return {
        "best": string_tensor([COLOURS[index].encode() for index in scores.argmax(1)]),
        "p": number_tensor(scores.max(1)),
    }


def with_features(inputs: Inputs) -> Outputs:
    scores = scored(inputs["x"])
    return {"y": number_tensor(scores), "features": number_tensor(np.tile(scores, (1, 3)))}


def no_batch(inputs: Inputs) -> Outputs:
    assert inputs["x"].shape == ()
    return {"y": number_tensor(scored(inputs["x"].reshape(1))[0])}


def channels_first(inputs: Inputs) -> Outputs:
    assert inputs["x"].shape[1:] == (3, 8, 6)
    return {"y": number_tensor(colour_scores(np.moveaxis(inputs["x"], 1, 3)))}


def brightness(inputs: Inputs) -> Outputs:
    """Dark, medium or bright."""
    values = inputs["x"].astype(np.float64).reshape(len(inputs["x"]), -1).mean(axis=1)
    return {"y": number_tensor(np.eye(3, dtype=np.float32)[np.digitize(values, [64, 192])])}


def normalized(mode: str) -> Callable[[Inputs], Outputs]:
    """Scores of images that were normalised so, undone by the formulas of Keras' documentation."""

    def answer(inputs: Inputs) -> Outputs:
        x = inputs["x"].astype(np.float64)
        if mode == "caffe":
            images = np.add(x, [103.939, 116.779, 123.68])[..., ::-1]
        elif mode == "torch":
            images = (x * [0.229, 0.224, 0.225] + [0.485, 0.456, 0.406]) * 255
        else:
            images = (x + 1) * 127.5
        np.testing.assert_allclose(images, np.rint(images), atol=1e-3)
        return {"y": number_tensor(colour_scores(np.rint(images)))}

    return answer


IMAGES: Tensors = {"x": (FLOAT, (-1, 8, 8, 3))}
SCORES: Tensors = {"y": (FLOAT, (-1, 3))}
ESTIMATOR: Tensors = {
    "all_class_ids": (INT32, (-1, 3)),
    "all_classes": (STRING, (-1, 3)),
    "class_ids": (INT64, (-1, 1)),
    "logits": (FLOAT, (-1, 3)),
    "probabilities": (FLOAT, (-1, 3)),
}
NAMED: dict[str, object] = {"labels": list(COLOURS)}
AUTOML = Export(
    {"image_bytes": (STRING, (-1,)), "key": (STRING, (-1,))},
    {"labels": (STRING, (-1, -1)), "scores": (FLOAT, (-1, -1)), "key": (STRING, (-1,))},
    with_key,
)

"""The jobs that a worker can run, by name. Each takes JSON arguments and buffers, and returns the same."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from PIL import Image

from gateway.images.decode import decode_whole, fit_picture, seen_size
from gateway.images.formats import is_image, open_image
from gateway.images.overlay import Box, paint_heat
from gateway.images.pixel_format import PixelFormat
from gateway.images.rewrite import rewrite_image
from gateway.images.target import Target
from gateway.pb.serving_pb2 import SignatureDefMap
from gateway.tensors import (
    hugging_face,
    open_inference,
    open_inference_grpc,
    tensorflow_serving,
    tensorflow_serving_grpc,
)
from gateway.tensors.inflate import inflate
from gateway.tensors.json_values import image_in_json
from gateway.tensors.messages import Inputs, SignatureRules, Signatures, read_outputs
from gateway.tensors.wire import Array
from gateway.workers.messages import Buffer

PREVIEW_QUALITY: Final = 85

BRIGHTNESS_STEP: Final = 8
"""Brightness is the mean of every eighth pixel in both directions: 0.01 ms for 224 x 224 pixels, all of them 0.1 ms."""

Arguments = Mapping[str, Any]
Request = Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Reply:
    """The result of a job: a JSON header, and buffers in pieces."""

    header: Mapping[str, object]
    buffers: Sequence[Buffer] = ()


Job = Callable[[Arguments, Request], Reply]


def image_pixels(arguments: Arguments, request: Request) -> Reply:
    """Decode an image into the form that a model takes.

    `arguments` are `max_pixels`, and `target` and `pixel_format` with the attributes of `Target` and `PixelFormat`.

    Returns:
        Buffer in that form; `size`: width and height of the upright image; `brightness`: mean of its pixels, 0 to 1.
    """
    data = image_in_json(request[0])
    name, picture = open_image(bytes(data), arguments["max_pixels"])
    size = seen_size(picture)
    decoded = np.asarray(fit_picture(name, picture, Target(**arguments["target"])))
    pixels: Array = PixelFormat(**arguments["pixel_format"]).convert(decoded)
    brightness = float(decoded[::BRIGHTNESS_STEP, ::BRIGHTNESS_STEP].mean()) / 255
    return Reply({"size": size, "brightness": round(brightness, 3)}, [[pixels.reshape(-1).view(np.uint8).data]])


def image_file(arguments: Arguments, request: Request) -> Reply:
    """Decode an image of at most `max_pixels`, and encode it as a file that every model server can read."""
    data = image_in_json(request[0])
    return Reply({}, [[rewrite_image(data, max_pixels=arguments["max_pixels"])]])


def image_preview(arguments: Arguments, request: Request) -> Reply:
    """Write an image of at most `max_pixels` as a JPEG that every browser shows: upright, without metadata.

    Its longer side has at most `max_side` pixels.
    """
    photo = decode_whole(image_in_json(request[0]), arguments["max_side"], max_pixels=arguments["max_pixels"])
    encoded = io.BytesIO()
    Image.fromarray(photo).save(encoded, "JPEG", quality=PREVIEW_QUALITY)
    return Reply({}, [[encoded.getvalue()]])


def heat_overlay(arguments: Arguments, request: Request) -> Reply:
    """Paint a heat map, the second buffer, over an image; returns a PNG file.

    `arguments` are the `shape` of the heat map, its `box`, `max_side` of the painting, and `max_pixels`.
    """
    data, heat = request
    photo = decode_whole(image_in_json(data), arguments["max_side"], max_pixels=arguments["max_pixels"])
    heatmap = np.frombuffer(heat, np.float32).reshape(arguments["shape"])
    return Reply({}, [[paint_heat(photo, heatmap, Box(**arguments["box"]))]])


def hugging_face_request(_: Arguments, request: Request) -> Reply:
    """Read a JSON body; see `hugging_face.read_request`. Returns the encoded image, and `top_k`."""
    image, top_k = hugging_face.read_request(request[0])
    return Reply({"top_k": top_k}, [[image]])


def tensorflow_serving_request(arguments: Arguments, request: Request) -> Reply:
    """Read the body of a predict request; see `tensorflow_serving.read_request`."""
    body, signatures = _inflated(arguments, request)
    read = tensorflow_serving.read_request(body, _signatures(arguments, signatures))
    return _inputs({"signature": read.signature, "by_row": read.by_row}, read.inputs)


def tensorflow_serving_response(arguments: Arguments, request: Request) -> Reply:
    """Write the body of a predict answer from serialised PredictResponses and the `rows` in each."""
    outputs = read_outputs(request, arguments["rows"])
    return Reply({}, [[tensorflow_serving.write_response(outputs, by_row=arguments["by_row"])]])


def tensorflow_serving_grpc_request(arguments: Arguments, request: Request) -> Reply:
    """Read a serialised PredictRequest; see `tensorflow_serving_grpc.read_request`."""
    message, signatures = request
    read = tensorflow_serving_grpc.read_request(message, _signatures(arguments, signatures), arguments["max_bytes"])
    return _inputs({"signature": read.signature, "outputs": read.outputs}, read.inputs)


def tensorflow_serving_grpc_response(arguments: Arguments, request: Request) -> Reply:
    """Join serialised PredictResponses, with the `rows` in each, to one of `model`, `version` and `signature`."""
    outputs = read_outputs(request, arguments["rows"])
    version, signature = arguments["version"], arguments["signature"]
    return Reply({}, [[tensorflow_serving_grpc.write_response(outputs, arguments["model"], version, signature)]])


def open_inference_request(arguments: Arguments, request: Request) -> Reply:
    """Read the body of an infer request; see `open_inference.read_request`."""
    body, signatures = _inflated(arguments, request)
    read = open_inference.read_request(
        body, arguments["header_length"], _signatures(arguments, signatures), max_images=arguments["max_images"]
    )
    return _inputs({"signature": read.signature, "head": asdict(read.head)}, read.inputs)


def open_inference_response(arguments: Arguments, request: Request) -> Reply:
    """Write the body of an infer answer; see `_inferred`. Returns it with its `headers`."""
    head, outputs = _inferred(arguments, request)
    content, headers = open_inference.write_response(head, arguments["model"], arguments["version"], outputs)
    return Reply({"headers": headers}, [[content]])


def open_inference_grpc_request(arguments: Arguments, request: Request) -> Reply:
    """Read a serialised ModelInferRequest; see `open_inference_grpc.read_request`."""
    message, signatures = request
    read = open_inference_grpc.read_request(
        message, _signatures(arguments, signatures), max_images=arguments["max_images"]
    )
    return _inputs({"signature": read.signature, "head": asdict(read.head)}, read.inputs)


def open_inference_grpc_response(arguments: Arguments, request: Request) -> Reply:
    """Write a serialised ModelInferResponse; see `_inferred`."""
    head, outputs = _inferred(arguments, request)
    message = open_inference_grpc.write_response(head, arguments["model"], arguments["version"], outputs)
    return Reply({}, [[message]])


def _inferred(arguments: Arguments, request: Request) -> tuple[open_inference.Head, Mapping[str, Array]]:
    """The head of an infer request and the outputs for it.

    `arguments` are the `head`, `model`, `version`, and `rows` in each PredictResponse of `request`; or, in place of
    those, `classes` and `scores` of images, best first.
    """
    head = open_inference.Head(**arguments["head"])
    if "classes" not in arguments:
        return head, read_outputs(request, arguments["rows"])
    labels = arguments["classes"]
    classes = np.empty((len(labels), len(labels[0])), np.object_)
    classes[:] = [[label.encode() for label in one] for one in labels]
    return head, {"classes": classes, "scores": np.array(arguments["scores"], np.float32)}


def _inflated(arguments: Arguments, request: Request) -> Request:
    """A request whose body is not compressed."""
    if not arguments.get("compressed"):
        return request
    body, *others = request
    return [inflate(body, arguments["max_bytes"]), *others]


def _signatures(arguments: Arguments, serialized: bytes) -> Signatures:
    """Signatures from a SignatureDefMap and the arguments `default_signature` and `rules`."""
    rules = SignatureRules(**arguments["rules"])
    return Signatures(SignatureDefMap.FromString(serialized), arguments["default_signature"], rules)


def _inputs(header: Mapping[str, object], inputs: Inputs) -> Reply:
    described: dict[str, object] = {"rows": inputs.rows, "names": inputs.names, "shape": inputs.shape, "images": None}
    buffers: list[Buffer] = list(inputs.tensors)
    if inputs.images is not None:
        buffers += [[image] for image in inputs.images]
        described["images"] = [inputs.certain_images or is_image(image) for image in inputs.images]
    return Reply({**header, "inputs": described}, buffers)


JOBS: Final[Mapping[str, Job]] = {
    job.__name__: job
    for job in (
        image_pixels,
        image_file,
        image_preview,
        heat_overlay,
        hugging_face_request,
        tensorflow_serving_request,
        tensorflow_serving_response,
        tensorflow_serving_grpc_request,
        tensorflow_serving_grpc_response,
        open_inference_request,
        open_inference_response,
        open_inference_grpc_request,
        open_inference_grpc_response,
    )
}

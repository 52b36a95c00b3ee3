"""Convert the arrays of a request to inputs of PredictRequests, and PredictResponses back to arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from google.protobuf.message import DecodeError

from gateway.errors import InvalidTensor, ModelServerFailed, SignatureMissing
from gateway.pb.serving_pb2 import PredictResponse, SignatureDef, SignatureDefMap
from gateway.tensors.signature_check import check_inputs
from gateway.tensors.wire import Array, TensorError, Wire, array_of, wire_of

MAX_MESSAGE_BYTES = 5_000_000
"""Maximum size of the inputs of one PredictRequest if a request may be split. gRPC copies them on the event loop, which
takes 0.3 ms for each megabyte."""

MAX_OUTPUT_ELEMENTS = 2**26
"""Maximum number of values of an output: the number of floats in the largest answer."""


@dataclass(frozen=True, slots=True)
class SignatureRules:
    """What the gateway knows about a version in addition to its signatures.

    Attributes:
        max_rows: Maximum number of rows in a request.
        image_inputs: By signature, its input of encoded images.
        certain_images: Whether it is certain that those inputs take images. If not, other strings are passed on
            unchanged.
        pixel_shapes: By signature, the shape of one image. Images of another size would fail a batch with images of
            other callers.
        pixel_input: The input of those signatures that takes the images.
        row_keys: Signatures that compute each row independently, so that a large request may be split.
        max_message_bytes: Maximum size of the inputs of one message if a request may be split.
    """

    max_rows: int
    image_inputs: Mapping[str, str] = field(default_factory=dict)
    certain_images: bool = True
    pixel_shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    pixel_input: str = ""
    row_keys: Sequence[str] = ()
    max_message_bytes: int = MAX_MESSAGE_BYTES


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of one request, ready to be sent.

    Attributes:
        rows: Rows in each message.
        names: Names of the inputs.
        tensors: For each message, a serialised tensor for each name except that of `images`.
        images: The encoded images, still to be decoded, if the last input takes images.
        shape: Shape of the input of encoded images.
        certain_images: Whether all of them must be images.
    """

    rows: Sequence[int]
    names: Sequence[str]
    tensors: Sequence[Wire] = ()
    images: Sequence[bytes] | None = None
    shape: Sequence[int] = ()
    certain_images: bool = True


@dataclass(frozen=True, slots=True)
class Signatures:
    """The signatures of the version that answers, by which requests are read.

    Attributes:
        by_key: The signatures.
        default: Key of the one to use if a request names none.
        rules: What else is known about their inputs.
    """

    by_key: SignatureDefMap
    default: str
    rules: SignatureRules

    def find(self, key: str) -> SignatureDef:
        """The signature with a key.

        Raises:
            SignatureMissing: The version has no such signature.
        """
        if key not in self.by_key.signature_def:
            keys = ", ".join(repr(one) for one in sorted(self.by_key.signature_def))
            raise SignatureMissing(f'Serving signature key "{key[:200]}" not found. There is {keys}.')
        return self.by_key.signature_def[key]

    def inputs(self, key: str, arrays: Mapping[str, Array]) -> Inputs:
        """Check the arrays of a request against the signature with a key, and serialise them.

        Raises:
            SignatureMissing: The version has no such signature.
            InvalidTensor: They do not match it.
        """
        rules = self.rules
        rows = check_inputs(self.find(key), arrays, rules.max_rows)
        if key in rules.pixel_shapes:
            _check_size(rules.pixel_input, arrays[rules.pixel_input], tuple(rules.pixel_shapes[key]))
        names = list(arrays)
        image_input = rules.image_inputs.get(key)
        try:
            if image_input is not None:
                array = arrays[image_input]
                others = [name for name in names if name != image_input]
                return Inputs(
                    [rows],
                    [*others, image_input],
                    [wire_of(arrays[name]) for name in others],
                    images=array.ravel().tolist(),
                    shape=array.shape,
                    certain_images=rules.certain_images,
                )
            if key in rules.row_keys and len(names) == 1 and arrays[names[0]].shape[:1] == (rows,):
                chunks = _chunks(arrays[names[0]], rules.max_message_bytes)
                return Inputs(list(map(len, chunks)), names, [wire_of(chunk) for chunk in chunks])
            return Inputs([rows], names, [wire_of(array) for array in arrays.values()])
        except TensorError as error:
            raise InvalidTensor(f"The inputs cannot be sent: {error}.") from error


def read_outputs(answers: Sequence[bytes], rows: Sequence[int]) -> dict[str, Array]:
    """Join the outputs of a request that was sent in one or several messages.

    Args:
        answers: A serialised PredictResponse for each message.
        rows: Number of rows in each.

    Raises:
        ModelServerFailed: They cannot be parsed or joined.
    """
    try:
        chunks = [
            {
                name: array_of(tensor, max_elements=MAX_OUTPUT_ELEMENTS)
                for name, tensor in sorted(PredictResponse.FromString(answer).outputs.items())
            }
            for answer in answers
        ]
    except (DecodeError, TensorError) as error:
        raise ModelServerFailed("The model returned outputs that cannot be parsed.") from error
    if len(chunks) == 1:
        return chunks[0]
    for chunk, count in zip(chunks, rows, strict=True):
        forms = {name: (array.shape[1:], array.dtype) for name, array in chunk.items()}
        first = {name: (array.shape[1:], array.dtype) for name, array in chunks[0].items()}
        if forms != first or any(array.shape[:1] != (count,) for array in chunk.values()):
            raise ModelServerFailed("The model did not return one row for each image.")
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def _check_size(name: str, array: Array, expected: tuple[int, ...]) -> None:
    if array.shape[1:] != expected:
        actual = ", ".join(map(str, array.shape))
        raise InvalidTensor(
            f"The input {name!r} must be of shape (n, {', '.join(map(str, expected))}), not ({actual}): images of one "
            "size share a batch. For another size, set the options height and width of the model; for channels first, "
            "layout."
        )


def _chunks(array: Array, max_bytes: int) -> list[Array]:
    """The rows of an array, in chunks that fit into a message."""
    chunks: list[Array] = []
    start = chunk_bytes = 0
    for end, row in enumerate(array):
        size = len(row) if isinstance(row, bytes) else row.nbytes
        if end > start and chunk_bytes + size > max_bytes:
            chunks.append(array[start:end])
            start, chunk_bytes = end, 0
        chunk_bytes += size
    return [*chunks, array[start:]]

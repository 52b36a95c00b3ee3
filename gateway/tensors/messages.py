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
        pixel_shapes: By signature, the shape of one image, if the signature leaves height and width open. Images of
            another size would fail a batch with images of other callers.
        row_keys: Signatures that compute each row independently, so that a large request may be split.
        max_message_bytes: Maximum size of the inputs of one message if a request may be split.
    """

    max_rows: int
    image_inputs: Mapping[str, str] = field(default_factory=dict)
    certain_images: bool = True
    pixel_shapes: Mapping[str, Sequence[int]] | None = None
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
            offered = ", ".join(repr(one) for one in sorted(self.by_key.signature_def))
            raise SignatureMissing(f'Serving signature key "{key[:200]}" not found. There is {offered}.')
        return self.by_key.signature_def[key]

    def inputs(self, key: str, arrays: Mapping[str, Array]) -> Inputs:
        """Check the arrays of a request against the signature with a key, and serialise them.

        Raises:
            SignatureMissing: The version has no such signature.
            InvalidTensor: They do not match it.
        """
        return checked_inputs(self.find(key), key, arrays, self.rules)


def checked_inputs(signature: SignatureDef, key: str, arrays: Mapping[str, Array], rules: SignatureRules) -> Inputs:
    """Check arrays against a signature and serialise them.

    Raises:
        InvalidTensor: They do not match the signature.
    """
    rows = check_inputs(signature, arrays, rules.max_rows)
    expected = (rules.pixel_shapes or {}).get(key)
    if expected is not None:
        _check_size(arrays, tuple(expected))
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
            parts = _parts(arrays[names[0]], rules.max_message_bytes)
            return Inputs(list(map(len, parts)), names, [wire_of(part) for part in parts])
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
        parts = [
            {
                name: array_of(tensor, max_elements=MAX_OUTPUT_ELEMENTS)
                for name, tensor in sorted(PredictResponse.FromString(answer).outputs.items())
            }
            for answer in answers
        ]
    except (DecodeError, TensorError) as error:
        raise ModelServerFailed("The model returned outputs that cannot be parsed.") from error
    if len(parts) == 1:
        return parts[0]
    for part, count in zip(parts, rows, strict=True):
        forms = {name: (array.shape[1:], array.dtype) for name, array in part.items()}
        first = {name: (array.shape[1:], array.dtype) for name, array in parts[0].items()}
        if forms != first or any(array.shape[:1] != (count,) for array in part.values()):
            raise ModelServerFailed("The model returned outputs that are not a row for each image.")
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _check_size(arrays: Mapping[str, Array], expected: tuple[int, ...]) -> None:
    for name, array in arrays.items():
        if array.shape[1:] != expected:
            actual = ", ".join(map(str, array.shape))
            raise InvalidTensor(
                f"The input {name!r} must be of shape (n, {', '.join(map(str, expected))}), not ({actual}): images of "
                "one size share a batch."
            )


def _parts(array: Array, max_bytes: int) -> list[Array]:
    """The rows of an array, in parts that fit into a message."""
    parts: list[Array] = []
    start = held = 0
    for end, row in enumerate(array):
        size = len(row) if isinstance(row, bytes) else row.nbytes
        if end > start and held + size > max_bytes:
            parts.append(array[start:end])
            start, held = end, 0
        held += size
    return [*parts, array[start:]]

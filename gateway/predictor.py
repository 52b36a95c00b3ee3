"""Tensors in, tensors out: any signature of any served model, checked before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from gateway import errors, images
from gateway.admission import Admission
from gateway.backend import MAX_REQUEST_BYTES, Backend, Selector, together
from gateway.calls import Call
from gateway.classifier import image_error
from gateway.contract import DEFAULT_SIGNATURE, EXPLAIN, PIXELS
from gateway.deadline import Deadline
from gateway.decoding import Decoders
from gateway.pb.serving_pb2 import DataType, SignatureDef, Tensor
from gateway.resolver import ContractResolver, Served
from gateway.settings import Settings
from gateway.signature_inputs import check_inputs
from gateway.tensors import Array, TensorError, Wire, array_of, wire_of

MAX_OUTPUT_ELEMENTS = 2**26
"""Values of one output that are read: more than an answer of `backend.MAX_MESSAGE_BYTES` can hold as floats."""

OF_IMAGES = (PIXELS, DEFAULT_SIGNATURE, EXPLAIN)
"""Signatures of a model with a card that take images, one a row."""

ReadInputs = Callable[[SignatureDef], Mapping[str, Array]]
"""Makes a caller's tensors into arrays, told the signature they are for; runs in a thread."""


@dataclass(frozen=True, slots=True)
class _Message:
    """The inputs of one request, serialised, and how many rows they have."""

    rows: int
    inputs: dict[str, Wire]


@dataclass(frozen=True, slots=True)
class Predicted:
    """The answer of one version.

    Attributes:
        served: The version.
        signature: Its signature that was run.
        outputs: Every output, by name.
    """

    served: Served
    signature: SignatureDef
    outputs: Mapping[str, Array]


class Predictor:
    """Runs signatures.

    Args:
        backend: The model server.
        resolver: Finds the version and its signatures.
        decoders: Threads in which bodies are read and images checked.
        admission: Permits for further rows.
        settings: Limits.
    """

    def __init__(
        self,
        backend: Backend,
        resolver: ContractResolver,
        decoders: Decoders,
        admission: Admission,
        settings: Settings,
    ) -> None:
        self._backend = backend
        self._resolver = resolver
        self._decoders = decoders
        self._admission = admission
        self._max_rows = settings.max_predict_batch_size

    async def predict(
        self, model: str, selector: Selector, key: str, read: ReadInputs, deadline: Deadline, call: Call
    ) -> Predicted:
        """Run one signature of one version; the caller holds a permit for the first row.

        Args:
            model: Name of the model.
            selector: Which version.
            key: Key of the signature; empty for the default one.
            read: The inputs. It is called again where the version changes meanwhile.
            deadline: For all of it.
            call: Takes note of version, rows and times.

        Raises:
            SignatureMissing: The version has no such signature.
            InvalidTensor: The inputs are not what the signature takes.
            ImageError: An encoded image among them is not one that the model server can decode.
            GatewayError: As `ContractResolver.served` and `Backend.predict` raise them.
        """
        key = key or DEFAULT_SIGNATURE

        async def ask(served: Served) -> Predicted:
            call.answered_by(served.model, served.version)
            signature = _signature(served, key)
            with call.stage("decode"):
                messages = await self._prepared(served, key, read, deadline)
            rows = [one.rows for one in messages]
            call.images = sum(rows)
            with self._admission.admit(call.images - 1), call.stage("predict"):
                answers = await together(
                    [
                        self._backend.predict(served.model, served.version, key, one.inputs, [], deadline)
                        for one in messages
                    ]
                )
            return Predicted(served, signature, _joined(served, [_arrays(served, one) for one in answers], rows))

        return await self._resolver.answered(model, selector, deadline, ask)

    async def _prepared(self, served: Served, key: str, read: ReadInputs, deadline: Deadline) -> list[_Message]:
        prepare = partial(_prepared, served, key, read, self._max_rows)
        [prepared] = await self._decoders.run([prepare], deadline)
        if isinstance(prepared, errors.ImageTooLarge):
            raise prepared
        return prepared


def _signature(served: Served, key: str) -> SignatureDef:
    if key not in served.signatures:
        offered = ", ".join(repr(one) for one in sorted(served.signatures))
        raise errors.SignatureMissing(f'Serving signature key "{key[:200]}" not found. There is {offered}.')
    return served.signatures[key]


def _prepared(
    served: Served, key: str, read: ReadInputs, max_rows: int, max_pixels: int
) -> list[_Message] | errors.ImageTooLarge:
    signature = served.signatures[key]
    arrays = read(signature)
    rows = check_inputs(signature, arrays, max_rows)
    _check_size(served, key, arrays)
    try:
        if takes_encoded_images(served, key):
            arrays = {name: _checked_images(array, max_pixels) for name, array in arrays.items()}
        return _messages(served, key, arrays, rows)
    except images.ImageError as error:
        refused = image_error(error)
        if isinstance(refused, errors.ImageTooLarge):
            return refused  # given and not raised, as `Decoders` wants it
        raise refused from error
    except TensorError as error:
        raise errors.InvalidTensor(f"The inputs cannot be sent: {error}.") from error


def _check_size(served: Served, key: str, arrays: Mapping[str, Array]) -> None:
    """Hold pixels to the one size that the gateway sends, where the signature leaves height and width open.

    Images of another size cannot be stacked with those of other callers: the model server fails the whole batch.
    """
    contract = served.contract
    if contract is None or contract.input_kind != "pixels":
        return
    if key != contract.signature and not (key == EXPLAIN and contract.explains):
        return
    expected = (contract.target.height, contract.target.width, 3)
    for name, array in arrays.items():
        if array.shape[1:] != expected:
            given = ", ".join(str(size) for size in array.shape)
            raise errors.InvalidTensor(
                f"The input {name!r} must be of shape (n, {', '.join(map(str, expected))}), not ({given}): images of "
                "one size share a batch."
            )


def _messages(served: Served, key: str, arrays: Mapping[str, Array], rows: int) -> list[_Message]:
    """One request; or several, where that were too large, and a card vouches that each row is answered by itself."""
    named = list(arrays.items())
    has_card = served.contract is not None and served.contract.card is not None
    if not has_card or key not in OF_IMAGES or len(named) != 1 or named[0][1].shape[:1] != (rows,):
        return [_Message(rows, {name: wire_of(array) for name, array in named})]
    [(name, array)] = named
    messages: list[_Message] = []
    start = held = 0
    for end, row in enumerate(array):
        size = len(row) if isinstance(row, bytes) else row.nbytes
        if end > start and held + size > MAX_REQUEST_BYTES:
            messages.append(_Message(end - start, {name: wire_of(array[start:end])}))
            start, held = end, 0
        held += size
    return [*messages, _Message(rows - start, {name: wire_of(array[start:])})]


def takes_encoded_images(served: Served, key: str) -> bool:
    """Whether the input of a signature is known to be encoded images."""
    contract = served.contract
    if contract is None or any(info.dtype != DataType.DT_STRING for info in served.signatures[key].inputs.values()):
        return False
    if contract.card is not None:
        return key == DEFAULT_SIGNATURE
    return contract.input_kind == "encoded" and key == contract.signature


def _checked_images(encoded: Array, max_pixels: int) -> Array:
    """The images as files that every model server can decode; one that it cannot fails the whole batch it shares."""
    checked = np.empty(encoded.size, np.object_)
    checked[:] = [images.rewrite_image(one, max_pixels=max_pixels) for one in encoded.ravel().tolist()]
    return checked.reshape(encoded.shape)


def _joined(served: Served, answers: Sequence[Mapping[str, Array]], rows: Sequence[int]) -> Mapping[str, Array]:
    """The outputs of all rows, given those of each request and how many rows it had."""
    if len(answers) == 1:
        return answers[0]
    forms = {
        tuple((name, array.shape[1:], array.dtype) for name, array in one.items() if array.shape[:1] == (count,))
        for one, count in zip(answers, rows, strict=True)
    }
    if len(forms) > 1 or any(len(one) != len(next(iter(forms))) for one in answers):
        raise errors.ModelServerFailed(
            f"The model {served.model!r} version {served.version} gave outputs that are not a row for each image."
        )
    return {name: np.concatenate([one[name] for one in answers]) for name in answers[0]}


def _arrays(served: Served, tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    try:
        return {name: array_of(tensor, max_elements=MAX_OUTPUT_ELEMENTS) for name, tensor in sorted(tensors.items())}
    except TensorError as error:
        raise errors.ModelServerFailed(
            f"The model {served.model!r} version {served.version} gave outputs that cannot be read."
        ) from error

"""Run any signature of any model, after checking the inputs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast
from weakref import WeakValueDictionary

from gateway.deadline import Deadline
from gateway.inference.admission import Admission
from gateway.inference.worker_pools import ImageWorkers, TensorWorkers
from gateway.observability.request_record import RequestRecord
from gateway.pb.serving_pb2 import DataType
from gateway.serving.backend import Backend, Selector, together
from gateway.serving.contract import DEFAULT_SIGNATURE, EMBED, EXPLAIN, PIXELS
from gateway.serving.resolver import ContractResolver
from gateway.serving.version_lookup import ServedVersion
from gateway.settings import Settings
from gateway.tensors.messages import SignatureRules
from gateway.tensors.wire import Wire, strings
from gateway.workers.messages import Buffer, Message
from gateway.workers.turns import Turns


@dataclass(frozen=True, slots=True)
class TensorRequest:
    """A body, and the job that reads it.

    Attributes:
        job: Name of a job of `gateway.workers.jobs` that takes a body and signatures.
        arguments: Further arguments of the job.
        count_rows: Counts rows after the first against the rate limit of the caller.
    """

    job: str
    body: Buffer
    arguments: Mapping[str, object]
    count_rows: Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Predicted:
    """The answer of one version.

    Attributes:
        request: What the job read beside the tensors.
        answers: A serialised PredictResponse for each message that was sent.
        rows: Rows in each message.
        images: Instead of answers, encoded images to be classified.
    """

    served: ServedVersion
    request: Mapping[str, Any]
    answers: Sequence[bytes] = ()
    rows: Sequence[int] = ()
    images: Sequence[bytes] | None = None


class Predictor:
    """Runs signatures. Workers read bodies, write answers, and decode encoded images among the tensors."""

    def __init__(
        self,
        backend: Backend,
        resolver: ContractResolver,
        tensor_workers: TensorWorkers,
        image_workers: ImageWorkers,
        admission: Admission,
        settings: Settings,
    ) -> None:
        self._backend = backend
        self._resolver = resolver
        self._tensor_workers = tensor_workers
        self._image_workers = image_workers
        self._admission = admission
        self._max_rows = settings.max_predict_batch_size
        self._max_calls = settings.max_images_per_server
        self._turns: WeakValueDictionary[str, Turns] = WeakValueDictionary()  # by model, only while there are calls

    async def predict(
        self, model: str, selector: Selector, request: TensorRequest, deadline: Deadline, record: RequestRecord
    ) -> Predicted:
        """Run one signature of one version; the caller holds a permit for the first row.

        The body is parsed again if the version changes meanwhile.

        Raises:
            SignatureMissing: The version has no such signature.
            InvalidTensor: The inputs are not what the signature takes.
            UnsupportedImage, InvalidImage, ImageTooLarge: An encoded image among them cannot be decoded.
            GatewayError: As `ContractResolver.served` and `Backend.predict` raise them.
        """
        counted = False
        body_bytes = self._admission.held_by(record.turn)

        async def ask(served: ServedVersion) -> Predicted:
            nonlocal counted
            self._admission.release(record.turn, keep=body_bytes)  # the tensors of an earlier attempt
            record.answered_by(served.model, served.version)
            with record.stage("decode"):
                read = await self._read(served, request, deadline, record)
                inputs = cast(Mapping[str, Any], read.header["inputs"])
                outputs = cast(Sequence[str], read.header.get("outputs", ()))
                rows, names = inputs["rows"], inputs["names"]
                record.images = sum(rows)
                if read.header["signature"] is None:
                    return Predicted(served, read.header, images=read.buffers)
                if record.images > 1 and not counted:  # but not again if the version changes meanwhile
                    await request.count_rows(record.images - 1)
                    counted = True
            key = str(read.header["signature"])
            # Before decoding images, so that a full gateway refuses requests without work.
            with self._admission.admit(record.caller, record.images - 1):
                tensors: list[Wire] = [[tensor] for tensor in read.buffers]
                if inputs["images"] is not None:
                    others = len(names) - 1
                    with record.stage("decode"):
                        images = await self._rewritten(read.buffers[others:], inputs["images"], deadline, record)
                    tensors[others:] = [strings(images, tuple(inputs["shape"]))]
                with record.stage("predict"):
                    answers = await together(
                        [
                            self._send(
                                served,
                                key,
                                dict(zip(names, tensors[start : start + len(names)], strict=True)),
                                outputs,
                                deadline,
                                record,
                            )
                            for start in range(0, len(tensors), len(names))
                        ]
                    )
            return Predicted(served, read.header, answers, rows)

        return await self._resolver.answer(model, selector, deadline, ask)

    async def write(
        self,
        job: str,
        arguments: Mapping[str, object],
        answers: Sequence[bytes],
        deadline: Deadline,
        record: RequestRecord,
    ) -> Message:
        """Write the body of an answer with a job of `gateway.workers.jobs` that takes PredictResponses."""
        return await self._tensor_workers.run(job, arguments, [[answer] for answer in answers], record.turn, deadline)

    async def _read(
        self, served: ServedVersion, request: TensorRequest, deadline: Deadline, record: RequestRecord
    ) -> Message:
        arguments = {
            "default_signature": DEFAULT_SIGNATURE,
            **request.arguments,
            "rules": asdict(_rules(served, self._max_rows)),
        }
        buffers: list[Buffer] = [request.body, [served.signature_map]]
        return await self._tensor_workers.run(request.job, arguments, buffers, record.turn, deadline)

    async def _rewritten(
        self, strings: Sequence[bytes], are_images: Sequence[bool], deadline: Deadline, record: RequestRecord
    ) -> list[bytes]:
        """Decode images and encode them again: one that a model server cannot decode would fail a batch."""

        async def rewritten(image: bytes, is_image: bool) -> bytes:
            if not is_image:
                return image
            reply = await self._image_workers.run("image_file", {}, [[image]], record.turn, deadline)
            return reply.buffers[0]

        return await together([rewritten(*one) for one in zip(strings, are_images, strict=True)])

    async def _send(
        self,
        served: ServedVersion,
        key: str,
        inputs: Mapping[str, Wire],
        outputs: Sequence[str],
        deadline: Deadline,
        record: RequestRecord,
    ) -> bytes:
        turns = self._turns.get(served.model) or Turns(self._max_calls)
        self._turns[served.model] = turns
        async with turns.slot(record.turn, deadline):
            return await self._backend.predict(served.model, served.version, key, inputs, outputs, deadline)


def _rules(served: ServedVersion, max_rows: int) -> SignatureRules:
    """What the gateway knows about a version in addition to its signatures."""
    contract = served.contract
    if contract is None:
        return SignatureRules(max_rows)
    has_card = contract.card is not None
    pixel_keys = []
    if contract.input_kind == "pixels" and contract.batch_size < 0:
        pixel_keys = [
            contract.signature,
            *([EXPLAIN] if contract.explains else []),
            *([EMBED] if contract.embeds else []),
        ]
    return SignatureRules(
        max_rows,
        image_inputs=_image_inputs(served),
        certain_images=contract.certain_image,
        pixel_shapes=dict.fromkeys(pixel_keys, contract.row_shape),
        pixel_input=contract.input_name,
        row_keys=[PIXELS, DEFAULT_SIGNATURE, EXPLAIN, EMBED] if has_card else [],
    )


def _image_inputs(served: ServedVersion) -> Mapping[str, str]:
    """By signature, the input of encoded images."""
    contract = served.contract
    if contract is None:
        return {}
    if contract.card is None:
        return {contract.signature: contract.input_name} if contract.input_kind == "encoded" else {}
    signature = served.signatures.get(DEFAULT_SIGNATURE)
    if signature is None or len(signature.inputs) != 1:
        return {}
    [(name, info)] = signature.inputs.items()
    return {DEFAULT_SIGNATURE: name} if info.dtype == DataType.DT_STRING else {}

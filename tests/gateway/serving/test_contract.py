"""A tensor of a wrong rank ends a real model server: none can leave, whatever a model says of itself and is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.deadline import Deadline
from gateway.errors import GatewayError, UnsupportedModel
from gateway.inference.classifier import Classifier
from gateway.inference.worker_pools import WorkerPools
from gateway.model_options import ModelOptions
from gateway.observability.request_record import RequestRecord
from gateway.pb.serving_pb2 import DataType, ModelVersionStatus, PredictResponse, SignatureDef, Tensor
from gateway.serving.backend import Selector
from gateway.serving.contract import Contract, contract_from_card
from gateway.serving.resolver import ContractResolver
from gateway.serving.signature_contract import contract_from_signatures
from gateway.settings import Settings
from gateway.tensors.wire import Wire, shape_of
from testing.colour_server import signature
from testing.gateway import FORK_SERVER
from testing.photos import photo

CARD = b'{"labels": ["a", "b"], "input": {"height": 8, "width": 6}}'
FILES = [photo(encoding=kind, size=size) for kind in ("PNG", "JPEG") for size in ((40, 30), (1, 300), (7, 7))]


class Recorder:
    """A model server that serves one signature and keeps what it is sent."""

    def __init__(self, signatures: Mapping[str, SignatureDef]) -> None:
        self._signatures = signatures
        self.sent: list[tuple[str, Mapping[str, Tensor]]] = []

    async def predict(
        self,
        model: str,
        version: int,
        signature: str,
        inputs: Mapping[str, Wire],
        outputs: Sequence[str],
        deadline: Deadline,
    ) -> bytes:
        del model, version, outputs, deadline
        self.sent.append((signature, {name: Tensor.FromString(b"".join(wire)) for name, wire in inputs.items()}))
        if signature == "describe":
            card = Tensor(dtype="DT_STRING", string_val=[CARD], tensor_shape={"dim": [{"size": 1}]})
            return PredictResponse(outputs={"card": card}).SerializeToString()
        return b""

    async def signatures(
        self, model: str, selector: Selector, deadline: Deadline
    ) -> tuple[int, Mapping[str, SignatureDef]]:
        del model, selector, deadline
        return 1, self._signatures

    async def status(self, model: str, deadline: Deadline) -> Sequence[ModelVersionStatus]:
        del model, deadline
        return []

    def servers(self) -> int:
        return 1

    async def close(self) -> None:
        """Nothing is open."""


shapes = st.lists(st.sampled_from([-1, 0, 1, 3, 4, 8]), max_size=5).map(tuple)
tensors = st.dictionaries(
    st.sampled_from(["images", "x", "probabilities", "y"]),
    st.tuples(st.sampled_from([DataType.DT_UINT8, DataType.DT_FLOAT, DataType.DT_STRING, DataType.DT_INT32]), shapes),
    max_size=2,
)
described = {"describe": signature({"request": (DataType.DT_INT32, (-1,))}, {"card": (DataType.DT_STRING, (-1,))})}


@st.composite
def models(draw: st.DrawFn) -> dict[str, SignatureDef]:
    drawn = signature(draw(tensors), draw(tensors))
    for info in (*drawn.inputs.values(), *drawn.outputs.values()):
        info.tensor_shape.unknown_rank = draw(st.integers(0, 9)) == 0
    if draw(st.booleans()):
        return {"pixels": drawn, **described}
    return {draw(st.sampled_from(["serving_default", "other"])): drawn}


likely = st.sampled_from(
    [
        {"serving_default": signature({"x": (dtype, shape)}, {"y": (DataType.DT_FLOAT, (-1, 2))})}
        for dtype in (DataType.DT_UINT8, DataType.DT_FLOAT, DataType.DT_STRING)
        for shape in ((-1, 8, 6, 3), (-1, -1, -1, 3), (2, 8, 8, 3), (-1,), (), (-1, 3, 8, 8), (8, 8, 3))
    ]
)


@settings(max_examples=100)
@given(served=st.one_of(likely, models()), files=st.lists(st.sampled_from([*FILES, b"x", b""]), min_size=1, max_size=5))
def test_what_leaves_has_the_rank_size_and_dtype_of_the_signature(
    served: dict[str, SignatureDef], files: list[bytes]
) -> None:
    backend = Recorder(served)
    asyncio.run(classify(backend, files))
    contract, _ = contract_of(served)
    expected = {contract.signature} if contract and any(file in FILES for file in files) else set()
    assert {name for name, _ in backend.sent if name != "describe"} == expected
    for name, inputs in backend.sent:
        specs = served[name].inputs
        assert set(inputs) == set(specs)
        for key, tensor in inputs.items():
            sizes = [dim.size for dim in specs[key].tensor_shape.dim]
            shape = shape_of(tensor)
            assert tensor.dtype == specs[key].dtype
            if specs[key].tensor_shape.unknown_rank:
                assert tensor.dtype == DataType.DT_STRING
                sizes = [-1]
            assert len(shape) == len(sizes)
            assert all(size in (-1, actual) for actual, size in zip(shape, sizes, strict=True))
            assert 0 not in shape


async def classify(backend: Recorder, files: list[bytes]) -> None:
    limits = Settings.model_construct()
    resolver = ContractResolver(backend, {}, 60)
    workers = WorkerPools(limits, FORK_SERVER, lambda *_: None)
    try:
        classifier = Classifier(backend, resolver, workers.images, limits)
        await classifier.classify("m", Selector(), [[file] for file in files], 2, Deadline.after(60), RequestRecord())
    except GatewayError:
        pass  # the model is refused, or answers nothing; what counts is what it was sent
    finally:
        await workers.close()
        await resolver.close()


@given(served=models())
@settings(max_examples=100)
def test_a_contract_is_a_clear_yes_or_no(served: dict[str, SignatureDef]) -> None:
    contract, reason = contract_of(served)
    if contract is None:
        assert "'m' version 1" in reason
    else:
        assert contract.input_name in served[contract.signature].inputs
        assert contract.output_name in served[contract.signature].outputs


def contract_of(served: dict[str, SignatureDef]) -> tuple[Contract | None, str]:
    """The contract of a version, or why there is none."""
    try:
        if "describe" in served:
            return contract_from_card("m", 1, served, CARD), ""
        return contract_from_signatures("m", 1, served, ModelOptions.model_validate({})), ""
    except UnsupportedModel as error:
        return None, error.detail

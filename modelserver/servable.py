"""One version of a model in memory, whatever engine computes it: its signatures, and how each is run."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.pb import serving_pb2 as pb
from modelserver.batching import Run, Scheduler
from modelserver.config import Batching
from modelserver.errors import failed_precondition
from modelserver.tensors import Array

NETWORK = Path("assets.extra") / "openvino" / "network.xml"
"""Where a version carries what OpenVINO runs."""

_PREDICT_METHODS = frozenset(
    {"", "tensorflow/serving/predict", "tensorflow/serving/classify", "tensorflow/serving/regress"}
)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output as the signature declares it.

    Attributes:
        alias: Its name in requests and answers.
        tensor: Its name in the graph.
        dtype: A number of TensorFlow's ``DataType``.
        shape: Sizes, None where any will do; None as a whole if even the rank is free.
    """

    alias: str
    tensor: str
    dtype: pb.DataType
    shape: tuple[int | None, ...] | None

    @classmethod
    def of(cls, alias: str, info: pb.TensorInfo) -> "TensorSpec":
        """Reads a signature's entry."""
        shape = info.tensor_shape
        sizes = None if shape.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
        return cls(alias, info.name, info.dtype, sizes)


@dataclass(frozen=True, slots=True)
class Declared:
    """A signature as the SavedModel declares it: inputs and outputs by alias, sorted."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


def declared(definitions: Mapping[str, pb.SignatureDef]) -> dict[str, Declared]:
    """The signatures that Predict can call, by name."""
    return {
        name: Declared(
            {alias: TensorSpec.of(alias, info) for alias, info in sorted(definition.inputs.items())},
            {alias: TensorSpec.of(alias, info) for alias, info in sorted(definition.outputs.items())},
        )
        for name, definition in definitions.items()
        if definition.method_name in _PREDICT_METHODS and definition.inputs and definition.outputs
    }


class Signature:
    """A callable of a loaded version.

    Args:
        declared: What it takes and gives.
        make_run: Takes the aliases of outputs, and gives what computes them from the inputs in the order declared;
            called once for each choice of outputs. Any number of threads may call the result.
        scheduler: Joins requests; without one each runs alone, as they do where an input has no dimension for a batch,
            or one of a fixed size. (TensorFlow Serving with batching refuses the former, and fails what it joins of
            the latter.)

    Attributes:
        inputs: What a request must bring, by alias.
        outputs: What it may ask for, by alias.
    """

    def __init__(
        self, declared: Declared, make_run: Callable[[tuple[str, ...]], Run], scheduler: Scheduler | None
    ) -> None:
        self.inputs = declared.inputs
        self.outputs = declared.outputs
        self._make_run = make_run
        joinable = all(spec.shape is None or spec.shape[:1] == (None,) for spec in declared.inputs.values())
        self._scheduler = scheduler if joinable else None
        self._lock = threading.Lock()
        self._runs: dict[tuple[str, ...], Run] = {}

    @property
    def batching(self) -> Batching | None:
        """How requests are joined; None if they run alone."""
        return self._scheduler.batching if self._scheduler is not None else None

    def run(self, arrays: Mapping[str, Array], wanted: Sequence[str]) -> list[Array]:
        """Computes the outputs ``wanted`` (aliases) for checked inputs; one thread a call, many at once.

        Raises:
            ServingError: The batching queue is full, the batch had rows of several shapes, or an output has no batch
                dimension.
            Exception: What the engine raises when the model refuses these rows, or those of another call in the batch.
        """
        feeds = [arrays[alias] for alias in self.inputs]
        run = self._run_of(tuple(wanted))
        if self._scheduler is None:
            return run(*feeds)
        return self._scheduler.run(run, feeds, [spec.tensor for spec in self.inputs.values()])

    def _run_of(self, wanted: tuple[str, ...]) -> Run:
        if (known := self._runs.get(wanted)) is not None:
            return known
        with self._lock:
            if wanted not in self._runs:
                self._runs[wanted] = self._make_run(wanted)
            return self._runs[wanted]


class Servable:
    """A loaded version.

    Args:
        engine: The name of the engine that computes it, for logs.
        signatures: What can be called, by name.
        signature_defs: All that the SavedModel declares, as GetModelMetadata answers it.
        release: Gives back what the engine holds.
        row_by_row: Whether rows are computed apart, so that one request of a signature warms up all its batch sizes.
        on_demand: Signatures that take memory only once they are called, so that warm-up leaves them out.
    """

    def __init__(
        self,
        engine: str,
        signatures: Mapping[str, Signature],
        signature_defs: Mapping[str, pb.SignatureDef],
        release: Callable[[], None],
        *,
        row_by_row: bool = False,
        on_demand: frozenset[str] = frozenset(),
    ) -> None:
        self.row_by_row = row_by_row
        self.on_demand = on_demand
        self.engine = engine
        self.signatures = signatures
        self.signature_defs = signature_defs
        self._release = release

    def signature(self, name: str) -> Signature:
        """The signature of that name.

        Raises:
            ServingError: FAILED_PRECONDITION, there is none.
        """
        if (found := self.signatures.get(name)) is None:
            raise failed_precondition(f'Serving signature key "{name}" not found.')
        return found

    def close(self) -> None:
        """Gives the memory back. No call may be running."""
        self.signatures = {}
        self._release()

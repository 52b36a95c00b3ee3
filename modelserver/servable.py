"""One version of a model in memory, independent of the engine: its signatures, and how to run them."""

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
"""Path of OpenVINO's network in the folder of a version."""

_PREDICT_METHODS = frozenset(
    {"", "tensorflow/serving/predict", "tensorflow/serving/classify", "tensorflow/serving/regress"}
)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output as the signature declares it.

    Attributes:
        alias: Its name in requests and answers.
        tensor: Its name in the graph.
        dtype: A value of TensorFlow's ``DataType``.
        shape: Size of each dimension, None if it is free; None if the rank is free too.
    """

    alias: str
    tensor: str
    dtype: pb.DataType
    shape: tuple[int | None, ...] | None

    @classmethod
    def of(cls, alias: str, info: pb.TensorInfo) -> "TensorSpec":
        """Convert an entry of a signature."""
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
    """A signature of a loaded version, ready to run.

    Args:
        declared: Its inputs and outputs.
        make_run: Given aliases of outputs, returns a function that computes them from the inputs, in the declared
            order. It is called once for each combination of outputs. Any number of threads may call the returned
            function.
        scheduler: Batches requests. Without it, each request runs alone. So do requests with an input that has no batch
            dimension or one of a fixed size. (With batching, TensorFlow Serving refuses the former, and batches of the
            latter fail.)

    Attributes:
        inputs: Required inputs, by alias.
        outputs: Available outputs, by alias.
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
        """Batching parameters; None if requests run alone."""
        return self._scheduler.batching if self._scheduler is not None else None

    def run(self, arrays: Mapping[str, Array], aliases: Sequence[str]) -> list[Array]:
        """Compute the outputs with these aliases for checked inputs. Many threads may call this at once.

        Raises:
            ServingError: The batching queue is full, the batch had rows of several shapes, or an output has no batch
                dimension.
            Exception: What the engine raises when the model refuses these rows, or those of another call in the batch.
        """
        feeds = [arrays[alias] for alias in self.inputs]
        run = self._run_of(tuple(aliases))
        if self._scheduler is None:
            return run(*feeds)
        return self._scheduler.run(run, feeds, [spec.tensor for spec in self.inputs.values()])

    def _run_of(self, aliases: tuple[str, ...]) -> Run:
        if (run := self._runs.get(aliases)) is not None:
            return run
        with self._lock:
            if aliases not in self._runs:
                self._runs[aliases] = self._make_run(aliases)
            return self._runs[aliases]


class Servable:
    """A loaded version.

    Args:
        engine: Name of the engine, for logs.
        signatures: The signatures that can be called, by name.
        signature_defs: All signatures of the SavedModel, for GetModelMetadata.
        release: Releases what the engine holds.
        row_by_row: Whether each row is computed separately. Then one request for a signature warms up all batch sizes.
        on_demand: Signatures that take memory only once they are called. Warm-up leaves them out.
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
            ServingError: FAILED_PRECONDITION: there is none.
        """
        if (signature := self.signatures.get(name)) is None:
            raise failed_precondition(f'Serving signature key "{name}" not found.')
        return signature

    def close(self) -> None:
        """Release the memory. No call may be running."""
        self.signatures = {}
        self._release()

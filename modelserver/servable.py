"""One version of a model in memory: a SavedModel in a TensorFlow session of its own.

A session rather than ``tf.saved_model.load``: a call costs 0.1 ms of Python less, the graph is optimised as TensorFlow
Serving does it, and closing the session gives back everything that the version held, its batching queues included.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

from modelserver.batching import NotBatchableError, batched
from modelserver.config import Batching
from modelserver.errors import failed_precondition
from modelserver.optimize import Optimizer
from modelserver.tensors import Array

_LOG = logging.getLogger(__name__)
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
    dtype: int
    shape: tuple[int | None, ...] | None

    @classmethod
    def of(cls, alias: str, info: meta_graph_pb2.TensorInfo) -> "TensorSpec":
        """Reads a signature's entry."""
        shape = info.tensor_shape
        sizes = None if shape.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
        return cls(alias, info.name, info.dtype, sizes)


class Signature:
    """A callable of a loaded version.

    Attributes:
        inputs: What a request must bring, by alias.
        outputs: What it may ask for, by alias.
        batching: How requests are joined; None if they run alone.
    """

    def __init__(
        self,
        session: tf.compat.v1.Session,
        inputs: Mapping[str, TensorSpec],
        outputs: Mapping[str, TensorSpec],
        batched_outputs: Mapping[str, str] | None,
        batching: Batching | None,
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.batching = batching if batched_outputs is not None else None
        self._session = session
        self._batched_outputs = batched_outputs or {}
        self._lock = threading.Lock()
        self._callables: dict[tuple[bool, tuple[str, ...]], Callable[..., list[Array]]] = {}

    def run(self, arrays: Mapping[str, Array], wanted: Sequence[str]) -> list[Array]:
        """Computes the outputs ``wanted`` (aliases) for checked inputs; one thread a call, many at once.

        Raises:
            tf.errors.OpError: The model or the batching queue refused; with the code to answer.
        """
        feeds = [arrays[alias] for alias in self.inputs]
        if self.batching is None:
            return self._callable(tuple(wanted), joined=False)(*feeds)
        try:
            return self._callable(tuple(wanted), joined=True)(*feeds)
        except tf.errors.InvalidArgumentError:
            # Some request of the batch was bad, perhaps another's. Alone, only the bad one fails.
            return self._callable(tuple(wanted), joined=False)(*feeds)

    def _callable(self, wanted: tuple[str, ...], *, joined: bool) -> Callable[..., list[Array]]:
        key = (joined, wanted)
        if (known := self._callables.get(key)) is not None:
            return known
        with self._lock:
            if key not in self._callables:
                options = config_pb2.CallableOptions()
                options.feed.extend(spec.tensor for spec in self.inputs.values())
                options.fetch.extend(self._batched_outputs[a] if joined else self.outputs[a].tensor for a in wanted)
                # What Session.make_callable ends in, minus its handling of nested fetches on every call.
                self._callables[key] = self._session._make_callable_from_options(options)
            return self._callables[key]


class Servable:
    """A loaded version.

    Attributes:
        signatures: What can be called, by name.
        signature_defs: All that the SavedModel declares, as GetModelMetadata answers it.
    """

    def __init__(
        self,
        path: Path,
        tags: Sequence[str],
        batching: Batching | None,
        config: config_pb2.ConfigProto,
        optimize: Optimizer,
    ) -> None:
        """Loads ``path``, which holds a ``saved_model.pb`` with a graph of those tags.

        Raises:
            OSError: There is no SavedModel, or it cannot be read.
            RuntimeError: It has no graph for serving.
            tf.errors.OpError: TensorFlow refused it.
        """
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph, config=config)
        try:
            with graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(self._session, list(tags), str(path))
            self.signature_defs: Mapping[str, meta_graph_pb2.SignatureDef] = dict(meta_graph.signature_def)
            self.signatures = {
                name: _signature(self._session, name, definition, batching, optimize)
                for name, definition in self.signature_defs.items()
                if definition.method_name in _PREDICT_METHODS and definition.inputs and definition.outputs
            }
            graph.finalize()
        except BaseException:
            self._session.close()
            raise

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
        self._session.close()


def _signature(
    session: tf.compat.v1.Session,
    name: str,
    definition: meta_graph_pb2.SignatureDef,
    batching: Batching | None,
    optimize: Optimizer,
) -> Signature:
    inputs = {alias: TensorSpec.of(alias, info) for alias, info in sorted(definition.inputs.items())}
    outputs = {alias: TensorSpec.of(alias, info) for alias, info in sorted(definition.outputs.items())}
    joined = None
    if batching is not None:
        fed = [session.graph.get_tensor_by_name(spec.tensor) for spec in inputs.values()]
        fetched = [session.graph.get_tensor_by_name(spec.tensor) for spec in outputs.values()]
        try:
            results = batched(session.graph, name, fed, fetched, batching, optimize)
        except NotBatchableError as reason:
            _LOG.warning('signature "%s" runs without batching: %s', name, reason)
        else:
            joined = {alias: tensor.name for alias, tensor in zip(outputs, results, strict=True)}
    return Signature(session, inputs, outputs, joined, batching)

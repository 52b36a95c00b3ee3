"""Joining requests: TensorFlow's own batching op, built around one signature.

The op queues the rows of concurrent calls, runs the computation once over all of them and gives each caller its own
rows back, all inside TensorFlow and without Python's lock. It is what ``tf.nondifferentiable_batch_function`` builds;
that decorator is for eager functions and leaves the queue's name to chance, so the op is made here.
"""

from collections.abc import Sequence

import tensorflow as tf
from tensorflow.core.framework import graph_pb2

from modelserver.config import Batching
from modelserver.optimize import Optimizer

# Nodes whose values a function cannot capture: the reference variables of TensorFlow 1.
_REFERENCES = frozenset({"Variable", "VariableV2", "TemporaryVariable"})


class NotBatchableError(Exception):
    """A signature whose graph cannot run inside the batching op; the text says why."""


def batched(
    graph: tf.Graph,
    name: str,
    inputs: Sequence[tf.Tensor],
    outputs: Sequence[tf.Tensor],
    batching: Batching,
    optimize: Optimizer,
) -> list[tf.Tensor]:
    """Adds to ``graph`` a batching op over the part of it that leads from ``inputs`` to ``outputs``.

    Args:
        graph: A TensorFlow 1 graph, with its variables; a session on it owns the queue, and ends it when closed.
        name: Of the queue; calls share a batch when they share this name and the session.
        inputs: Fed tensors, each with the batch dimension first.
        outputs: What to compute, each with the batch dimension first.
        batching: Sizes and times.
        optimize: Rewrites the computation.

    Returns:
        The batched outputs, in the order of ``outputs``; feed the same ``inputs``.

    Raises:
        NotBatchableError: The graph holds something that a function cannot capture.
    """
    part = tf.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(), [tensor.op.name for tensor in outputs])
    handles = _handles(graph, part)
    computation = _Computation(part, [*inputs, *handles], outputs, optimize)
    with graph.as_default():
        specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in inputs]

        def body(*rows: tf.Tensor) -> list[tf.Tensor]:
            function = tf.compat.v1.get_default_graph()
            return computation([*rows, *(function.capture(handle) for handle in handles)])

        function = tf.function(body, autograph=False).get_concrete_function(*specs)
        return list(
            tf.raw_ops.BatchFunction(
                in_tensors=list(inputs),
                captured_tensors=function.captured_inputs,
                f=function,
                Tout=[tensor.dtype for tensor in outputs],
                num_batch_threads=batching.threads,
                max_batch_size=batching.max_batch_size,
                batch_timeout_micros=batching.timeout_micros,
                max_enqueued_batches=batching.max_enqueued_batches,
                allowed_batch_sizes=list(batching.allowed_sizes),
                enable_large_batch_splitting=batching.split_large,
                shared_name=name,
                batching_queue=name,
            )
        )


def _handles(graph: tf.Graph, part: graph_pb2.GraphDef) -> list[tf.Tensor]:
    # The handles of variables and tables. One made inside the function would be another variable; that of the loaded
    # one is passed in.
    handles = []
    for node in part.node:
        if node.op in _REFERENCES:
            raise NotBatchableError(f"{node.name} is a {node.op}")
        operation = graph.get_operation_by_name(node.name)
        if not operation.inputs and operation.outputs and operation.outputs[0].dtype == tf.resource:
            handles.append(operation.outputs[0])
    return handles


class _Computation:
    """Part of a graph, optimised, that can be put into another graph."""

    def __init__(
        self,
        part: graph_pb2.GraphDef,
        arguments: Sequence[tf.Tensor],
        outputs: Sequence[tf.Tensor],
        optimize: Optimizer,
    ) -> None:
        with tf.Graph().as_default() as graph:
            given = [tf.compat.v1.placeholder(tensor.dtype, tensor.shape) for tensor in arguments]
            known = {tensor.name: placeholder for tensor, placeholder in zip(arguments, given, strict=True)}
            results = tf.graph_util.import_graph_def(part, known, [tensor.name for tensor in outputs], name="part")
            results = [tf.identity(result) for result in results]
        self._arguments = [placeholder.name for placeholder in given]
        self._results = [result.name for result in results]
        self._graph = optimize(graph, self._results)
        self._kept = {node.name for node in self._graph.node}

    def __call__(self, arguments: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        given = zip(self._arguments, arguments, strict=True)
        known = {name: tensor for name, tensor in given if name.partition(":")[0] in self._kept}
        return list(tf.graph_util.import_graph_def(self._graph, known, self._results, name=""))

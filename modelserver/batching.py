"""Joining requests: TensorFlow's own batching op, built around one signature.

The op queues the rows of concurrent calls, runs the computation once over all of them and gives each caller its own
rows back, all inside TensorFlow and without Python's lock. It is what ``tf.nondifferentiable_batch_function`` builds;
that decorator is for eager functions and leaves the queue's name to chance, so the op is made here.
"""

from collections.abc import Sequence

import tensorflow as tf

from modelserver.config import Batching

# Nodes whose values a function cannot capture: the reference variables of TensorFlow 1.
_REFERENCES = frozenset({"Variable", "VariableV2", "TemporaryVariable"})


class NotBatchableError(Exception):
    """A signature whose graph cannot run inside the batching op; the text says why."""


def batched(
    graph: tf.Graph, name: str, inputs: Sequence[tf.Tensor], outputs: Sequence[tf.Tensor], batching: Batching
) -> list[tf.Tensor]:
    """Adds to ``graph`` a batching op over the part of it that leads from ``inputs`` to ``outputs``.

    Args:
        graph: A TensorFlow 1 graph, with its variables; a session on it owns the queue, and ends it when closed.
        name: Of the queue; calls share a batch when they share this name and the session.
        inputs: Fed tensors, each with the batch dimension first.
        outputs: What to compute, each with the batch dimension first.
        batching: Sizes and times.

    Returns:
        The batched outputs, in the order of ``outputs``; feed the same ``inputs``.

    Raises:
        NotBatchableError: The graph holds something that a function cannot capture.
    """
    part = tf.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(), [tensor.op.name for tensor in outputs])
    captured = []
    for node in part.node:
        if node.op in _REFERENCES:
            raise NotBatchableError(f"{node.name} is a {node.op}")
        operation = graph.get_operation_by_name(node.name)
        # A handle made inside the function would be another variable; that of the loaded one is passed in.
        if not operation.inputs and operation.outputs and operation.outputs[0].dtype == tf.resource:
            captured.append(operation.outputs[0])

    def body(*rows: tf.Tensor) -> list[tf.Tensor]:
        function = tf.compat.v1.get_default_graph()
        known = {tensor.name: row for tensor, row in zip(inputs, rows, strict=True)}
        known |= {handle.name: function.capture(handle) for handle in captured}
        wanted = [tensor.name for tensor in outputs]
        return list(tf.graph_util.import_graph_def(part, known, return_elements=wanted, name=""))

    with graph.as_default():
        specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in inputs]
        computation = tf.function(body, autograph=False).get_concrete_function(*specs)
        return list(
            tf.raw_ops.BatchFunction(
                in_tensors=list(inputs),
                captured_tensors=computation.captured_inputs,
                f=computation,
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

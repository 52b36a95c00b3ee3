"""Graph rewrites for the batching op, whose function TensorFlow would otherwise run as it was written.

A session optimises the graph that it is given (folds constants, fuses a convolution with its bias and activation), but
does little of that inside a function, and the batching op runs a function. Measured on MobileNetV2 with frozen weights,
16 rows a batch: 16 ms of CPU an image without these rewrites, 12 ms with them, 12 ms in a session without batching.
"""

from collections.abc import Iterator, Sequence

import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow.python.grappler import cluster as grappler_cluster
from tensorflow.python.grappler import tf_optimizer

# Fusion asks which device a node runs on before it rewrites it.
_CPU = "/job:localhost/replica:0/task:0/device:CPU:0"
_CONTROL_FLOW = frozenset({"While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase"})


class Optimizer:
    """TensorFlow's graph optimiser; make one per process, and use it from one thread at a time.

    Args:
        config: Of the sessions that will run the graphs.
    """

    def __init__(self, config: config_pb2.ConfigProto) -> None:
        with tf.Graph().as_default(), tf.compat.v1.Session(config=config) as session:
            session.run(tf.constant(0))  # starts the devices with this configuration
        self._cluster = grappler_cluster.Cluster()
        self._has_gpu = bool(tf.config.list_physical_devices("GPU"))

    def __call__(self, graph: tf.Graph, outputs: Sequence[str]) -> graph_pb2.GraphDef:
        """A graph that computes the same tensors ``outputs`` (names such as ``out:0``) from the same placeholders."""
        meta_graph = meta_graph_pb2.MetaGraphDef(graph_def=graph.as_graph_def())
        meta_graph.collection_def["train_op"].node_list.value.extend(outputs)
        if not self._has_gpu:
            _place(meta_graph.graph_def)
        config = config_pb2.ConfigProto()
        config.graph_options.rewrite_options.min_graph_nodes = -1  # a graph of one call is worth it
        _lower_loops(meta_graph.graph_def, lower=False)
        optimised: graph_pb2.GraphDef = tf_optimizer.OptimizeGraph(config, meta_graph, cluster=self._cluster)
        _lower_loops(optimised, lower=True)
        return optimised


def _nodes(graph: graph_pb2.GraphDef) -> Iterator[node_def_pb2.NodeDef]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _lower_loops(graph: graph_pb2.GraphDef, *, lower: bool) -> None:
    # A loop that the optimiser takes apart leaves a graph that cannot be a function's body ("has inputs from different
    # frames"). Left whole, it is taken apart when the function is instantiated, as any tf.function's loop is.
    for node in _nodes(graph):
        if node.op in _CONTROL_FLOW:
            node.attr["_lower_using_switch_merge"].b = lower


def _place(graph: graph_pb2.GraphDef) -> None:
    for node in _nodes(graph):
        node.device = node.device or _CPU

"""What a served model computes in: float32; bfloat16 where processors have it; int8 in the network for OpenVINO."""

import argparse
import importlib.util
import sys
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from trainer.errors import TrainerError

if TYPE_CHECKING:
    import tensorflow as tf

Precision = Literal["float32", "bfloat16", "int8"]

HELP = (
    "what the exported model computes in; bfloat16: faster on CPUs that have it, with answers a little off; a server "
    "without AVX-512 cannot load it; int8: the network for OpenVINO in 8 bits, the SavedModel in float32"
)

PACKAGES = {"openvino": "openvino==2026.4.*", "nncf": "nncf==3.4.*"}
"""What int8 needs, as the extra `int8` in pyproject.toml has it."""


@dataclass(frozen=True)
class Limits:
    """What a network in int8 may lose.

    Attributes:
        max_accuracy_loss: Points of accuracy: 0.5 allows 90.0 % to become 89.5 %.
        min_same_top1: Percentage of photos that must keep their best label.
    """

    max_accuracy_loss: float = 0.5
    min_same_top1: float = 98.0


LOSS_HELP = "int8: points of accuracy on validation photos that may be lost"
TOP1_HELP = "int8: percentage of validation photos that must keep their best label"

# Before the rewrite, what folds batch normalisation into weights in float32; after it, what folds casts of weights.
# No fusing: that gives operations that only the machine of the export is sure to have.
_OPTIMIZERS = (
    "pruning",
    "function",
    "common_subgraph_elimination",
    "constfold",
    "auto_mixed_precision_onednn_bfloat16",
    "arithmetic",
    "dependency",
    "constfold",
)


def add_precision(parser: argparse.ArgumentParser, *, default: Precision = "float32", photos: bool = True) -> None:
    """Adds `--precision`; without `photos`, to calibrate with, int8 is no choice."""
    choices = [one for one in typing.get_args(Precision) if photos or one != "int8"]
    help_text = HELP if photos else f"{HELP}, which needs photos: breed export"
    parser.add_argument("--precision", choices=choices, default=default, help=f"{help_text} (default: %(default)s)")


def check_available(precision: Precision) -> None:
    """Checks that an export in this precision can work on this processor, before anything slow is begun.

    Raises:
        TrainerError: It cannot.
    """
    if precision == "int8":
        missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            wanted = " ".join(f"'{PACKAGES[name]}'" for name in missing)
            raise TrainerError(
                f"int8 needs the Python package{'s' * (len(missing) > 1)} {' and '.join(missing)}: "
                f"{sys.executable} -m pip install {wanted}"
            )
    if precision != "bfloat16":
        return
    import tensorflow as tf

    def convolve(images: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(tf.nn.conv2d(images, tf.ones((3, 3, 3, 8)), 1, "SAME"))

    images = tf.TensorSpec((None, 8, 8, 3), tf.float32)
    in_bfloat16(tf.function(convolve, input_signature=[images], autograph=False).get_concrete_function())


def in_bfloat16(function: "tf.types.experimental.ConcreteFunction") -> "tf.types.experimental.ConcreteFunction":
    """Returns a frozen function of one tensor with its heavy operations and their weights in bfloat16.

    This is oneDNN's automatic mixed precision, done once, so that a model server needs no flag for it: operations that
    lose little (convolutions, products, and what lies between them) change, and inputs and outputs stay as they are.

    Raises:
        TrainerError: This processor has no bfloat16 instructions (TensorFlow then leaves the graph as it is), or the
            function has nothing to change.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf.config_pb2 import ConfigProto
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
    from tensorflow.python.grappler.tf_optimizer import OptimizeGraph

    meta_graph = MetaGraphDef(graph_def=function.graph.as_graph_def())
    outputs = [output.name for output in function.outputs]
    meta_graph.collection_def["train_op"].node_list.value.extend(outputs)
    config = ConfigProto()
    config.graph_options.rewrite_options.min_graph_nodes = -1  # small graphs too
    config.graph_options.rewrite_options.optimizers.extend(_OPTIMIZERS)
    graph = OptimizeGraph(config, meta_graph)
    if not any(node.attr["T"].type == tf.bfloat16.as_datatype_enum for node in graph.node if "T" in node.attr):
        raise TrainerError(
            "bfloat16 cannot be had here: either this processor has neither AVX-512 BF16 nor AMX (lscpu lists "
            "avx512_bf16 or amx_bf16), or TensorFlow runs without oneDNN, which it has on x86 Linux; or the network "
            "has no convolution or product to compute in it"
        )
    for node in graph.node:
        node.device = ""
    [argument] = function.inputs

    def run(images: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return tuple(tf.graph_util.import_graph_def(graph, {argument.op.name: images}, outputs, name=""))

    signature = [tf.TensorSpec(argument.shape, argument.dtype)]
    return tf.function(run, input_signature=signature, autograph=False, jit_compile=False).get_concrete_function()

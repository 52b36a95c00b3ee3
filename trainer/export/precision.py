"""Numeric precision of an exported model."""

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, get_args

from trainer.errors import TrainerError

if TYPE_CHECKING:
    import tensorflow as tf

Precision = Literal["float32", "bfloat16", "float16", "int8"]
"""float16 is one of files for LiteRT alone, see `portable`."""

ServedPrecision = Literal["float32", "bfloat16", "int8"]
"""Precisions of a SavedModel with its network for OpenVINO."""

SERVED: Final[Sequence[ServedPrecision]] = get_args(ServedPrecision)

HELP = (
    "precision of the exported model; bfloat16: faster on CPUs that support it, slightly different answers, cannot be "
    "loaded by servers without AVX-512"
)
INT8_HELP = "int8: the network for OpenVINO in 8 bits, the SavedModel in float32"

PACKAGES = {"openvino": "openvino==2026.4.*", "nncf": "nncf==3.4.*"}
"""Requirements of int8, as in the extra `int8` of pyproject.toml."""


@dataclass(frozen=True)
class Limits:
    """Limits on the loss of a network in int8.

    Attributes:
        max_accuracy_loss: Maximum loss of accuracy in percentage points: 0.5 allows a loss from 90.0 % to 89.5 %.
        min_same_top1: Percentage of photos that must keep their best label.
    """

    max_accuracy_loss: float = 0.5
    min_same_top1: float = 98.0


LOSS_HELP = "maximum loss of validation accuracy, in percentage points"
TOP1_HELP = "minimum percentage of validation photos that keep their best label"

# Fold batch normalisation into float32 weights before the rewrite, and casts of weights after it. No fusion: other
# machines may lack the fused operations.
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
    """Adds the option `--precision`. Without `photos` for calibration, int8 is not available."""
    choices = [one for one in SERVED if photos or one != "int8"]
    help_text = f"{HELP}; {INT8_HELP}" if photos else HELP
    parser.add_argument("--precision", choices=choices, default=default, help=f"{help_text} (default: %(default)s)")


def check_available(precision: Precision) -> None:
    """Checks before any slow work that this precision can be exported on this machine.

    Raises:
        TrainerError: It cannot be exported.
    """
    if precision == "int8":
        missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            requirements = " ".join(f"'{PACKAGES[name]}'" for name in missing)
            raise TrainerError(
                f"int8 needs the Python package{'s' * (len(missing) > 1)} {' and '.join(missing)}: "
                f"{sys.executable} -m pip install {requirements}"
            )
    if precision != "bfloat16":
        return
    import tensorflow as tf

    def convolve(images: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(tf.nn.conv2d(images, tf.ones((3, 3, 3, 8)), 1, "SAME"))

    images = tf.TensorSpec((None, 8, 8, 3), tf.float32)
    in_bfloat16(tf.function(convolve, input_signature=[images], autograph=False).get_concrete_function())


def in_bfloat16(function: "tf.types.experimental.ConcreteFunction") -> "tf.types.experimental.ConcreteFunction":
    """Returns a frozen function of one tensor with its expensive operations and their weights in bfloat16.

    This applies the automatic mixed precision of oneDNN at export, so that a model server needs no flag for it. It
    changes convolutions, matrix products and the operations between them, but not inputs and outputs.

    Raises:
        TrainerError: This processor has no bfloat16 instructions, so TensorFlow does not change the graph, or the
            function has no such operations.
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
            "bfloat16 is not available: this processor has neither AVX-512 BF16 nor AMX (lscpu would list "
            "avx512_bf16 or amx_bf16), TensorFlow runs without oneDNN (it has it on x86 Linux), or the network has no "
            "convolution or matrix product"
        )
    for node in graph.node:
        node.device = ""
    [argument] = function.inputs

    def run(images: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return tuple(tf.graph_util.import_graph_def(graph, {argument.op.name: images}, outputs, name=""))

    signature = [tf.TensorSpec(argument.shape, argument.dtype)]
    return tf.function(run, input_signature=signature, autograph=False, jit_compile=False).get_concrete_function()

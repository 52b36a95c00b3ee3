"""Write the network of an export for OpenVINO, which `modelserver` runs on CPUs without TensorFlow.

It is a single graph from `images` to the outputs of all signatures with images, so that the weights are stored once.
The server compiles the part for a signature. Without OpenVINO, the export contains only the SavedModel.
"""

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

NETWORK = Path("openvino") / "network.xml"
"""File in `assets.extra`. The weights are in `network.bin` in the same folder."""

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


def write_network(outputs: tf.types.experimental.GenericFunction, extra: Path) -> str | None:
    """Converts a function and writes it to `NETWORK`.

    Args:
        outputs: `images` -> outputs by name; without variables.
        extra: The folder `assets.extra` of the export.

    Returns:
        None, or the reason why the network could not be written.
    """
    if importlib.util.find_spec("openvino") is None:
        return "the Python package openvino is not installed"
    from trainer.export.openvino_runtime import ov

    frontend = ov.frontend

    concrete = outputs.get_concrete_function()
    names = sorted(concrete.structured_outputs)  # a function returns the outputs of a mapping in this order
    path = extra / NETWORK
    path.parent.mkdir()
    graph = path.with_suffix(".pb")
    try:
        # Only what the outputs need: OpenVINO takes what nothing uses, such as the gradient of a bias, for an output.
        needed = tf.compat.v1.graph_util.extract_sub_graph(
            concrete.graph.as_graph_def(), [output.op.name for output in concrete.outputs]
        )
        graph.write_bytes(_without_relu_grad(needed).SerializeToString())
        front_end = frontend.FrontEndManager().load_by_framework("tf")
        model = front_end.convert(front_end.load(str(graph)))
        model.inputs[0].get_tensor().set_names({"images"})
        for output, name in zip(model.outputs, names, strict=True):
            output.get_tensor().set_names({name})
        ov.save_model(model, path, compress_to_fp16=False)
    except (frontend.GeneralFailure, frontend.OpConversionFailure, frontend.OpValidationFailure, RuntimeError) as error:
        shutil.rmtree(path.parent)
        lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
        return next((line for line in lines if "conversion rule" in line), lines[0])
    finally:
        graph.unlink(missing_ok=True)  # deleted with its folder if the conversion failed
    return None


def _without_relu_grad(graph: Any) -> Any:
    """Replaces the gradient of ReLU, which OpenVINO lacks: it is the incoming gradient where the input is positive.

    Heat maps of networks with a hidden layer contain it.
    """
    for node in [one for one in graph.node if one.op == "ReluGrad"]:
        gradients, features = node.input
        zero, positive, mask = (graph.node.add(name=f"{node.name}/{name}") for name in ("zero", "positive", "mask"))
        zero.op = "Const"
        zero.attr["dtype"].type = node.attr["T"].type
        zero.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(0.0, tf.float32))
        positive.op = "Greater"
        positive.input.extend([features, zero.name])
        positive.attr["T"].CopyFrom(node.attr["T"])
        mask.op = "Cast"
        mask.input.append(positive.name)
        mask.attr["SrcT"].type, mask.attr["DstT"].type = tf.bool.as_datatype_enum, node.attr["T"].type
        node.op = "Mul"
        del node.input[:]
        node.input.extend([gradients, mask.name])
    return graph


def runner(network: Path) -> Callable[[Pixels], dict[str, Floats]]:
    """Loads a network; returns a function from images to all outputs by name, in float32."""
    from trainer.export.openvino_runtime import ov

    # Processors with bfloat16 would use it by default.
    compiled = ov.Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(images: Pixels) -> dict[str, Floats]:
        outputs: Any = compiled(images)
        return {output.any_name: outputs[output] for output in compiled.outputs}

    return run

"""OpenVINO: run the network that the trainer writes beside a SavedModel, on a CPU, without TensorFlow.

The network is ``assets.extra/openvino/network.xml`` in the folder of the version. It takes ``images``, and its outputs
have the same names as the outputs of the signatures that it can compute. The two other signatures of
docs/model-contract.md need no network: ``describe`` returns the card, and ``serving_default`` decodes with
`gateway.images` and then runs ``pixels``. The signatures are read from ``saved_model.pb``, so clients see no difference
between the engines.
"""

import dataclasses
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from google.protobuf.message import DecodeError

from gateway.images import ImageError, Target, decode_image
from gateway.pb import serving_pb2 as pb
from modelserver.batching import Run, Scheduler
from modelserver.config import Batching
from modelserver.errors import failed_precondition, invalid
from modelserver.openvino_runtime import ov
from modelserver.pb import saved_model_pb2
from modelserver.servable import NETWORK, Declared, Servable, Signature, declared
from modelserver.tensors import Array

CARD = Path("assets.extra") / "card.json"

ON_DEMAND = frozenset({"heatmap", "embedding"})
"""Outputs whose part of the network is compiled when one of them is first asked for.

With MobileNetV2, heat maps take 40 MB and a fifth of the time of the start; so the first one takes 0.2 s longer.
"""


class OpenVinoEngine:
    """Loads versions that contain a network.

    Args:
        tags: Tags of the graph whose signatures are read.
        batching: Limits on the queue, and the number of images computed at once. None means no queue.
        threads: Number of threads for each model; 0 means one for each core.
    """

    def __init__(self, tags: Sequence[str], batching: Batching | None, *, threads: int) -> None:
        self._tags = frozenset(tags)
        self._streams = (batching or Batching()).threads
        if threads:
            self._streams = min(self._streams, threads)
        self._scheduler = Scheduler(_row_by_row(batching, self._streams)) if batching is not None else None
        self._core = ov.Core()
        # One stream with one thread for each image that is computed at once. On CPUs, this takes a quarter less CPU
        # time than all threads on one image. A batch on each thread takes more time, and 70 MB more. Threads are not
        # pinned, because the gateway's workers use the same cores.
        self._core.set_property("CPU", {"NUM_STREAMS": self._streams, "ENABLE_CPU_PINNING": False})
        if threads:
            self._core.set_property("CPU", {"INFERENCE_NUM_THREADS": threads})

    def load(self, path: Path) -> Servable:
        """Loads the network of the version at ``path``.

        Raises:
            OSError: A file is missing or cannot be read.
            ServingError: OpenVINO cannot compute a signature of the version.
            RuntimeError: OpenVINO refused the network.
        """
        definitions = _signature_defs(path / "saved_model.pb", self._tags)
        version = _Version(self._core, path, self._streams)
        signatures = {
            name: Signature(one, version.runner(name, one), self._scheduler)
            for name, one in declared(definitions).items()
        }
        on_demand = frozenset(name for name, one in signatures.items() if ON_DEMAND & set(one.outputs))
        return Servable(version.engine, signatures, definitions, version.release, row_by_row=True, on_demand=on_demand)


def _row_by_row(batching: Batching, streams: int) -> Batching:
    """The same limits, counted in images, with batches of one image."""
    return dataclasses.replace(
        batching,
        execution_size=1,
        timeout_micros=0,
        max_enqueued_batches=batching.max_enqueued_batches * batching.execution_size,
        threads=streams,
        allowed_sizes=(),
    )


def _signature_defs(path: Path, tags: frozenset[str]) -> dict[str, pb.SignatureDef]:
    try:
        saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except DecodeError as error:
        raise OSError(f"{path} is not a SavedModel, or is damaged") from error
    for graph in saved_model.meta_graphs:
        if set(graph.meta_info_def.tags) == tags:
            return {name: pb.SignatureDef.FromString(one) for name, one in graph.signature_def.items()}
    raise failed_precondition(f"no graph in saved_model.pb has the tags {', '.join(sorted(tags))}")


class _Version:
    """The network of one version, compiled once for each set of outputs that some signature has."""

    def __init__(self, core: ov.Core, path: Path, streams: int) -> None:
        self._core = core
        self._streams = streams
        self._card_text = (path / CARD).read_text(encoding="utf-8")
        card = json.loads(self._card_text)
        size = card["input"]
        self._target = Target(size["height"], size["width"], size["fit"], size["interpolation"])
        self._labels = np.array([label.encode() for label in card["labels"]], np.object_)
        self._least_set_score = card.get("label_sets", {}).get("least_score", 0.0)
        self._thresholds = np.array(card.get("thresholds") or [0.0] * len(self._labels), np.float32)
        # By default, OpenVINO computes in bfloat16 on processors that have it. Answers must not depend on the
        # processor.
        self._precision = "bf16" if card.get("precision") == "bfloat16" else "f32"
        quantization = card.get("quantization") or {}
        self.engine = f"OpenVINO in {quantization['precision']}" if "precision" in quantization else "OpenVINO"
        if not (path / NETWORK).is_file():
            raise FileNotFoundError(f"there is no {NETWORK} in {path}: the model was exported without it")
        self._network = core.read_model(path / NETWORK)
        self._outputs = frozenset(output.any_name for output in self._network.outputs)
        self._lock = threading.Lock()
        self._compiled: dict[frozenset[str], _Compiled] = {}

    def runner(self, name: str, signature: Declared) -> Callable[[tuple[str, ...]], Run]:
        """The function that creates runs of a signature. The network is compiled now, except for heat maps.

        Raises:
            ServingError: FAILED_PRECONDITION: OpenVINO cannot compute that signature.
        """
        inputs, outputs = set(signature.inputs), set(signature.outputs)
        if inputs == {"images"} and outputs <= self._outputs:
            if not ON_DEMAND & outputs:
                self._compile(frozenset(outputs))
            return lambda aliases: self._compile(frozenset(outputs)).run_of(aliases)
        if (inputs, outputs) == ({"request"}, {"card"}):
            return self._describe
        if inputs == {"image_bytes"} and outputs - {"in_label_set", "over_threshold"} == {"classes", "scores"}:
            shape = signature.outputs["scores"].shape or ()
            top_k = shape[1] if len(shape) == 2 and shape[1] is not None else len(self._labels)
            return partial(self._classify, self._compile(frozenset({"probabilities"})), top_k)
        raise failed_precondition(f"OpenVINO cannot answer signature {name} of this model; --engine=tensorflow can")

    def _compile(self, outputs: frozenset[str]) -> "_Compiled":
        with self._lock:
            if outputs not in self._compiled:
                results = [one for one in self._network.outputs if one.any_name in outputs]
                part = ov.Model(results, self._network.get_parameters(), "_".join(sorted(outputs))).clone()
                part.reshape([1, *part.inputs[0].partial_shape[1:]])
                model = self._core.compile_model(part, "CPU", {"INFERENCE_PRECISION_HINT": self._precision})
                self._compiled[outputs] = _Compiled(model, self._streams)
            return self._compiled[outputs]

    def _describe(self, _aliases: tuple[str, ...]) -> Run:
        text = self._card_text.encode()
        return lambda request: [np.full(request.shape, text, np.object_)]

    def _classify(self, compiled: "_Compiled", top_k: int, aliases: tuple[str, ...]) -> Run:
        pixels = compiled.run_of(("probabilities",))

        def run(image_bytes: Array) -> list[Array]:
            images = np.stack([self._decode(data) for data in image_bytes])
            [probabilities] = pixels(images)
            scores = probabilities[:, : len(self._labels)]
            best = np.argsort(np.negative(scores), axis=1, kind="stable")[:, :top_k]
            best_scores = np.take_along_axis(scores, best, axis=1)
            outputs: Mapping[str, Array] = {
                "classes": self._labels[best],
                "scores": best_scores,
                "in_label_set": np.greater_equal(best_scores, np.float32(self._least_set_score)),
                "over_threshold": np.greater_equal(best_scores, self._thresholds[best]),
            }
            return [outputs[alias] for alias in aliases]

        return run

    def _decode(self, data: bytes) -> Array:
        try:
            return decode_image(data, self._target)
        except ImageError as error:
            raise invalid(str(error)) from error

    def release(self) -> None:
        self._compiled.clear()
        del self._network


class _Compiled:
    """A network compiled for one image, with as many inference requests as run at once. One call uses one request."""

    def __init__(self, model: ov.CompiledModel, streams: int) -> None:
        self._free: SimpleQueue[ov.InferRequest] = SimpleQueue()
        for _ in range(streams):
            self._free.put(model.create_infer_request())
        self._ports = {name: output for output in model.outputs for name in output.names}

    def run_of(self, aliases: tuple[str, ...]) -> Run:
        """A function that computes the outputs of those names for ``images``."""
        ports = [self._ports[alias] for alias in aliases]

        def run(images: Array) -> list[Array]:
            request = self._free.get()
            try:
                rows = [request.infer(image[np.newaxis]) for image in images]  # infer() copies its results
            finally:
                self._free.put(request)
            return [np.concatenate([row[port] for row in rows]) for port in ports]

        return run

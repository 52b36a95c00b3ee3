"""Measure the speed of a published model by signature and batch size, and compare it with a plain export."""

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from trainer.console import progress
from trainer.errors import TrainerError
from trainer.export.keras_copies import load_keras
from trainer.export.saved_classifier import SavedClassifier
from trainer.export.tf_logging import quiet
from trainer.model_card import Card, InputSpec
from trainer.options import add_model_dir

BATCH_SIZES = (1, 2, 4, 8, 16, 32)
SECONDS = 2.0
PLAIN = "plain export"
KERAS_FILE = "assets.extra/model.keras"
DRAWN_SIDE = 375

Run = Callable[[], object]


@dataclass(frozen=True)
class Speed:
    """The speed of a signature at a batch size.

    Attributes:
        signature: Name of the signature, or `PLAIN`.
        batch_size: Images in a call.
        images_per_second: Throughput of sequential calls, from the median duration.
        p50_ms: Median duration of a call.
        p95_ms: 95th percentile of the duration.
        cpu_ms: CPU time per image, of all threads.
    """

    signature: str
    batch_size: int
    images_per_second: float
    p50_ms: float
    p95_ms: float
    cpu_ms: float


def benchmark(
    model_dir: Path, batch_sizes: Sequence[int] = BATCH_SIZES, seconds: float = SECONDS
) -> tuple[Card, list[Speed]]:
    """Measures every signature with images of an exported model, in this process and without a server.

    The plain export is the export of Keras of the same model (`assets.extra/model.keras`), with weights as variables.
    All signatures are called in turns, so that other load affects them equally.

    Args:
        model_dir: models/NAME/VERSION, or models/NAME for the newest version.
        batch_sizes: Images in a call.
        seconds: Duration of each measurement.

    Returns:
        The model card, and a `Speed` for each signature and batch size.

    Raises:
        TrainerError: There is no exported model.
    """
    model = SavedClassifier(model_dir)
    with tempfile.TemporaryDirectory() as folder, quiet():
        loaded = tf.saved_model.load(str(model.directory))
        signatures = {name: one for name, one in loaded.signatures.items() if name != "describe"}
        if (model.directory / KERAS_FILE).is_file():
            # Keep a reference: without the loaded model, the variables of its signatures are deleted.
            plain = _plain(model.directory / KERAS_FILE, Path(folder))
            signatures[PLAIN] = plain.signatures["serving_default"]
    speeds = []
    with progress("measuring", len(batch_sizes) * len(signatures)) as advance:
        for size in batch_sizes:
            runs = {
                name: _run(function, _batch(_input_dtype(function), model.card.input, size))
                for name, function in signatures.items()
            }
            speeds += [_speed(name, size, *timed) for name, timed in timed_in_turn(runs, seconds).items()]
            advance(len(signatures), f"{size} images a call")
    return model.card, speeds


def _plain(keras_file: Path, folder: Path) -> tf.Module:
    model = load_keras(keras_file)
    archive = keras.export.ExportArchive()
    archive.track(model)
    spec = tf.TensorSpec(model.input_shape, tf.float32, name="images")
    archive.add_endpoint("serving_default", lambda images: model(images, training=False), input_signature=[spec])
    archive.write_out(str(folder), verbose=False)
    return tf.saved_model.load(str(folder))


def _input_dtype(function: object) -> tuple[str, tf.DType]:
    _, inputs = function.structured_input_signature  # type: ignore[attr-defined]
    [(name, spec)] = inputs.items()
    return name, spec.dtype


def _batch(tensor: tuple[str, tf.DType], spec: InputSpec, size: int) -> Mapping[str, tf.Tensor]:
    name, dtype = tensor
    rng = np.random.default_rng(size)
    if dtype == tf.string:
        images = rng.integers(0, 256, (size, DRAWN_SIDE // 8, DRAWN_SIDE // 8, 3), np.uint8)
        large = [tf.cast(tf.image.resize(image, (DRAWN_SIDE, DRAWN_SIDE)), tf.uint8) for image in images]
        return {name: tf.stack([tf.io.encode_jpeg(image) for image in large])}
    return {name: tf.cast(rng.integers(0, 256, (size, spec.height, spec.width, 3), np.uint8), dtype)}


def _run(function: Callable[..., Mapping[str, tf.Tensor]], inputs: Mapping[str, tf.Tensor]) -> Run:
    # Convert to NumPy, because TensorFlow may return tensors before they are computed.
    return lambda: [tensor.numpy() for tensor in _tensors(function(**inputs))]


def _tensors(outputs: Mapping[str, tf.Tensor] | Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
    return list(outputs.values()) if isinstance(outputs, Mapping) else list(outputs)


def timed_in_turn(runs: Mapping[str, Run], seconds: float) -> dict[str, tuple[list[float], float]]:
    """Calls functions in turns, each for `seconds` and at least three times.

    Returns:
        The durations of the calls of each function, and their total CPU time, in seconds.
    """
    durations: dict[str, list[float]] = {name: [] for name in runs}
    used = dict.fromkeys(runs, 0.0)
    for run in runs.values():
        run()
        run()
    while any(sum(times) < seconds or len(times) < 3 for times in durations.values()):
        for name, run in runs.items():
            started, cpu = time.perf_counter(), time.process_time()
            run()
            durations[name].append(time.perf_counter() - started)
            used[name] += time.process_time() - cpu
    return {name: (durations[name], used[name]) for name in runs}


def _speed(name: str, size: int, durations: Sequence[float], used: float) -> Speed:
    p50, p95 = (float(value) for value in np.percentile(durations, (50, 95)))
    return Speed(name, size, size / p50, p50 * 1e3, p95 * 1e3, used / len(durations) / size * 1e3)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `benchmark`."""
    add_model_dir(parser)
    parser.add_argument(
        "--batch-sizes",
        type=_sizes,
        default=BATCH_SIZES,
        metavar="N,N,...",
        help=f"images in a call (default: {','.join(map(str, BATCH_SIZES))})",
    )
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="time for each measurement (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to this file")


def _sizes(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"expected positive integers, separated by commas, not {text!r}")
    return sizes


def run(args: argparse.Namespace) -> int:
    """Prints a table."""
    if args.seconds <= 0:
        raise TrainerError("--seconds must be positive")
    card, speeds = benchmark(args.model_dir, args.batch_sizes, args.seconds)
    Console().print(table(card, speeds))
    if args.json is not None:
        args.json.write_text(json.dumps([dataclasses.asdict(speed) for speed in speeds], indent=1), encoding="utf-8")
    return 0


def table(card: Card, speeds: Sequence[Speed]) -> Table:
    """The results as a table. The last column is the speed relative to the plain export at the same batch size."""
    plain = {speed.batch_size: speed.images_per_second for speed in speeds if speed.signature == PLAIN}
    size = f"{card.input.height} x {card.input.width}"
    grid = Table(title=f"{card.name}: {card.backbone.name}, {size}, {card.precision} (plain export: float32)")
    grid.add_column("signature", no_wrap=True)
    for name in ("batch", "images/s", "p50 ms", "p95 ms", "CPU ms", "of plain"):
        grid.add_column(name, justify="right")
    for speed in sorted(speeds, key=lambda one: (one.signature, one.batch_size)):
        plain_speed = plain.get(speed.batch_size)
        grid.add_row(
            speed.signature,
            str(speed.batch_size),
            f"{speed.images_per_second:.1f}",
            f"{speed.p50_ms:.1f}",
            f"{speed.p95_ms:.1f}",
            f"{speed.cpu_ms:.1f}",
            f"{speed.images_per_second / plain_speed:.2f}" if plain_speed else "",
        )
    return grid

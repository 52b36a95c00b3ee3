"""``scripts/bench``: compare the gateway with the minimal work for a photo, and with the model inside a web app."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from bench import batches, decoding, picture, profile, report, targets
from bench.agreement import Disagreement
from bench.compare import CLOSED, compare
from bench.photos import draw_photos, read_photos
from bench.programs import Peer, has_network, newest_version, started
from bench.systems import check_agreement, systems
from gateway.model_options import MODEL_NAME
from testing import ROOT

RESULTS = ROOT / "bench" / "results"
NAME = "bench"


def main() -> int:
    """Runs the benchmark; returns 1 if answers differ or a program does not start."""
    options = parser().parse_args()
    console = Console(width=None if sys.stdout.isatty() else 140)
    options.output.mkdir(parents=True, exist_ok=True)
    try:
        photos = read_photos(options.photos) if options.photos else draw_photos()
        base_path, model, peers, int8 = chosen_model(options, console)
        with tempfile.TemporaryDirectory() as logs:
            if options.profile:
                profile.run(console, base_path, model, photos, Path(logs), options.target, options.output)
            else:
                _compare(options, console, base_path, model, peers, int8, photos, Path(logs))
    except (Disagreement, RuntimeError, ValueError, subprocess.CalledProcessError) as error:
        console.print(f"bench: {error}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument(
        "--model",
        metavar="FOLDER_OR_NAME",
        help="folder with the versions of a model; with --target, its name",
    )
    parser.add_argument("--weights", type=Path, help="ImageNet weights for the default model (default: random)")
    parser.add_argument("--photos", type=Path, help="folder of photos (default: generated patterns)")
    parser.add_argument("--target", metavar="HOST:PORT", help="a running model server (default: start modelserver)")
    parser.add_argument("--target-pid", type=int, help="process ID of that server, to measure its CPU time and memory")
    parser.add_argument("--rate", type=float, help="requests per second (default: 60 %% of the maximum)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="duration of each measurement (default: 2)")
    parser.add_argument("--quick", action="store_true", help="two short rounds")
    parser.add_argument("--profile", action="store_true", help="profile the gateway instead")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the results (default: bench/results)")
    return parser


def chosen_model(options: argparse.Namespace, console: Console) -> tuple[Path | None, str, list[Peer], Path | None]:
    """The chosen model.

    Returns:
        Folder of its versions (None if only a running server has it), its name, peers that can load it, and the folder
        of its versions in int8.

    Raises:
        ValueError: The model is neither a folder of versions nor a name on the given server.
    """
    if options.model:
        folder = Path(options.model)
        try:
            peers = _of_export(folder)
        except ValueError:
            if not options.target or not re.fullmatch(MODEL_NAME, options.model):
                raise
            return None, options.model, [], None
        return folder, folder.resolve().name, peers, None
    kind = "given" if options.weights else "random"
    models = (options.output / "models" / kind).resolve()
    int8 = models / "int8" / NAME if all(map(find_spec, ("openvino", "nncf"))) else None
    if not (models / "plain" / "1").is_dir() or (int8 is not None and not (int8 / "1").is_dir()):
        console.print("exporting the model, once; this takes two minutes")
        arguments = [str(models)]
        for name in ("weights", "photos"):
            if (path := getattr(options, name)) is not None:
                arguments += [f"--{name}", str(path.resolve())]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        subprocess.run([sys.executable, "-m", "bench.model", *arguments], check=True, cwd=ROOT, env=environment)  # noqa: S603
    folder = models / NAME
    return folder, NAME, [Peer("model inside", models / "plain" / "1"), *_of_export(folder)], int8


def _of_export(folder: Path) -> list[Peer]:
    version = newest_version(folder)
    with_openvino = [Peer("OpenVINO inside", version, "openvino")] if has_network(folder) else []
    return [Peer("our export inside", version), *with_openvino]


def _compare(
    options: argparse.Namespace,
    console: Console,
    base_path: Path | None,
    model: str,
    peers: list[Peer],
    int8: Path | None,
    photos: list[bytes],
    logs: Path,
) -> None:
    rounds, seconds = (2, 1.2) if options.quick else (options.rounds, options.seconds)
    console.print("starting model server, gateway and peers")
    with started(
        base_path, model, photos[0], logs,
        target=options.target, target_pid=options.target_pid, peers=peers, int8=int8,
    ) as running:  # fmt: skip
        compared = systems(running, model, photos)
        check_agreement(compared, len(photos))
        alike = len(compared) - len(running.quantized)
        console.print(f"{len(photos)} photos: {alike} systems give the same answers")
        with Progress(console=console, transient=True) as bar:
            task = bar.add_task("measuring", total=rounds * len(compared) * (len(CLOSED) + 1))
            comparison = compare(
                compared, len(photos), rounds, seconds, options.rate,
                lambda name: bar.update(task, advance=1, description=name),
            )  # fmt: skip
        in_batches, singly = batches.measure(running.gateway_port, photos, rounds, max(seconds, 2.0))
        decoded = decoding.measure(photos, running.size, running.target, model)
        judged = targets.judge(comparison, decoded, in_batches, singly, running.start_seconds)
    report.print_tables(console, comparison, running.start_seconds)
    console.print(f"decoding and resizing alone: {decoded.photo_ms:.2f} ms of CPU time per photo")
    report.print_targets(console, judged)
    more = {
        "settings": {"rounds": rounds, "seconds": seconds, "photos": len(photos), "target": options.target},
        "start_seconds": running.start_seconds,
        "decoding": asdict(decoded),
        "photos_per_second": {"batches_of_64": in_batches, "singles_8_callers": singly},
    }
    report.write_json(options.output / "benchmark.json", comparison, judged, more)
    what = f"{len(photos)} photos, {os.cpu_count()} cores, client on the same cores, {rounds} rounds of {seconds:g} s"
    picture.draw(options.output / "benchmark.png", comparison, "8 callers", what)
    console.print(f"written: {options.output / 'benchmark.json'}, {options.output / 'benchmark.png'}")


if __name__ == "__main__":
    sys.exit(main())

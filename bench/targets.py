"""Compare the results with targets for ratios and CPU time, which depend least on other load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.compare import CLIENT, Comparison
from bench.decoding import Decoding
from bench.programs import OPENVINO, OPENVINO_INT8

READY, UNAVOIDABLE, GATEWAY = "direct", "decode + direct", "gateway"
PEER_OPENVINO = "OpenVINO inside"

WANTED: Mapping[str, tuple[float | None, float]] = {
    "model inside": (1.5, 1.7),
    "our export inside": (1.5, 1.7),
    GATEWAY: (None, 1.6),
    PEER_OPENVINO: (None, 0.95),
}
"""Requests per second of the gateway with OpenVINO as a multiple of another system's, with one caller and with 8 and
32."""

INT8_WANTED: Mapping[str, tuple[float | None, float]] = {"model inside": (1.5, 2.5)}


@dataclass(frozen=True)
class Target:
    """A target: name, limit and result."""

    what: str
    wanted: str
    measured: str
    reached: bool


def judge(
    comparison: Comparison,
    decoding: Decoding,
    batches: Sequence[float],
    singles: Sequence[float],
    start_seconds: Mapping[str, float],
) -> list[Target]:
    """Returns all targets for which this run has results."""
    targets = [_at_least(f"throughput of unavoidable work, {load}", _rate(comparison, load, UNAVOIDABLE), 0.95)
             for load in ("8 callers", "32 callers")]  # fmt: skip
    p50 = comparison.ratio("1 caller", GATEWAY, UNAVOIDABLE, lambda run: run.percentile(50)).median
    targets.append(_at_most("median latency of unavoidable work, 1 caller", p50, 1.10))
    for load in ("1 caller", "8 callers", "32 callers"):
        own_cpu = comparison.spread(load, GATEWAY, lambda run: run.cpu_ms("gateway")).median - decode_ms(
            comparison, load
        )
        targets.append(_at_most(f"gateway's CPU beside decoding, {load}", own_cpu, 1.0, "ms"))
    for peer in [name for name in comparison.memory if name.endswith("inside") and name != PEER_OPENVINO]:
        targets += _against(comparison, peer)
    for name in (OPENVINO, OPENVINO_INT8):
        if name in comparison.memory:
            targets += _with_openvino(comparison, name, INT8_WANTED if name == OPENVINO_INT8 else WANTED)
    ratio = float(np.median([one / two for one, two in zip(batches, singles, strict=True)]))
    targets.append(_at_least("batches of 64 over singles from 8 callers", ratio, 1.1))
    targets.append(
        _at_least("speed of scaled decoding, 12 megapixels", decoding.large_full_ms / decoding.large_scaled_ms, 4)
    )
    kept = f"{decoding.same_top1} of {decoding.photos}"
    targets.append(Target("same best label with full decoding", "all", kept, decoding.same_top1 == decoding.photos))
    for name, limit in (("gateway", 1.5), ("modelserver", 8.0)):
        if name in start_seconds:
            targets.append(_at_most(f"{name}: start to first answer", start_seconds[name], limit, "s"))
    return targets


def decode_ms(comparison: Comparison, load: str) -> float:
    """CPU time of decoding a photo under a load: the difference between clients that decode and those that do not.

    It is more than on an idle machine, because caches and cores are shared with the model.
    """
    with_it = comparison.spread(load, UNAVOIDABLE, lambda run: run.cpu_ms(CLIENT)).median
    return with_it - comparison.spread(load, READY, lambda run: run.cpu_ms(CLIENT)).median


def _against(comparison: Comparison, peer: str) -> list[Target]:
    targets = []
    for load, limit in (("1 caller", 1.0), ("8 callers", 1.0), ("32 callers", 1.25)):
        targets.append(_at_least(f"throughput of {peer}, {load}", _rate(comparison, load, peer), limit))
    p99 = comparison.ratio("32 callers", GATEWAY, peer, lambda run: run.percentile(99)).median
    targets.append(_at_most(f"p99 of {peer}, 32 callers", p99, 1.0))
    if len(comparison.memory[GATEWAY]) > 1:
        more = sum(comparison.memory[GATEWAY].values()) - sum(comparison.memory[peer].values())
        targets.append(_at_most(f"memory above {peer}", more, 120, "MB"))
    return targets


def _with_openvino(comparison: Comparison, name: str, wanted: Mapping[str, tuple[float | None, float]]) -> list[Target]:
    targets = []
    for other, (alone, together) in wanted.items():
        if other not in comparison.memory:
            continue
        for load, limit in (("1 caller", alone), ("8 callers", together), ("32 callers", together)):
            if limit is not None:
                ratio = _rate(comparison, load, other, name)
                targets.append(_at_least(f"{name}: throughput of {other}, {load}", ratio, limit))
        if alone is not None:
            p99 = comparison.ratio("32 callers", name, other, lambda run: run.percentile(99)).median
            targets.append(_at_most(f"{name}: p99 of {other}, 32 callers", p99, 0.5))
    memory = sum(comparison.memory[name].values())
    targets.append(_at_most(f"{name}: memory of gateway and model server", memory, 400, "MB"))
    return targets


def _rate(comparison: Comparison, load: str, other: str, system: str = GATEWAY) -> float:
    return comparison.ratio(load, system, other, lambda run: run.rate).median


def _at_least(what: str, value: float, limit: float) -> Target:
    return Target(what, f"at least {limit:g}", f"{value:.2f}", value >= limit)


def _at_most(what: str, value: float, limit: float, unit: str = "") -> Target:
    return Target(what, f"at most {limit:g} {unit}".strip(), f"{value:.2f} {unit}".strip(), value <= limit)

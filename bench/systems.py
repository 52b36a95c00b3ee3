"""The compared systems, from a photo to an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench import agreement
from bench.clients import DecodeThenSend, HttpCaller, ReadyTensors, form_request, request_for, scores_of
from bench.load import Caller
from bench.programs import GATEWAY_PATH, PEER_PATH, Started
from gateway.images import decode_image
from testing.processes import LOOPBACK, Tree


@dataclass(frozen=True)
class System:
    """A compared system.

    Attributes:
        name: Name in tables.
        connect: Makes a caller.
        trees: The processes of the system, by name. The client's own CPU time is always measured.
        check: Raises `agreement.Disagreement` if the answer to a photo differs from the reference.
    """

    name: str
    connect: Callable[[], Caller]
    trees: Mapping[str, Tree]
    check: Callable[[int, bytes, Sequence[float]], None]


def systems(running: Started, model: str, photos: Sequence[bytes]) -> list[System]:
    """All compared systems, the reference first."""
    ready = [request_for(model, decode_image(photo, running.size)[None]) for photo in photos]
    server = {"model server": running.server} if running.server is not None else {}

    def same_scores(name: str) -> Callable[[int, bytes, Sequence[float]], None]:
        return lambda photo, answer, expected: agreement.check_scores(name, photo, expected, scores_of(answer))

    def same_ranks(name: str) -> Callable[[int, bytes, Sequence[float]], None]:
        if name in running.quantized:
            return lambda photo, answer, _: agreement.check_labels(
                name, photo, running.labels, agreement.predictions_of(answer)
            )
        return lambda photo, answer, expected: agreement.check_predictions(
            name, photo, running.labels, expected, agreement.predictions_of(answer)
        )

    compared = [
        System("direct", lambda: ReadyTensors(running.target, ready), server, same_scores("direct")),
        System(
            "decode + direct",
            lambda: DecodeThenSend(running.target, model, photos, running.size),
            server,
            same_scores("decode + direct"),
        ),
        System(
            "gateway",
            posting(running.gateway_port, GATEWAY_PATH, photos),
            {"gateway": running.gateway.tree, **server},
            same_ranks("gateway"),
        ),
    ]
    for name, (server_process, front, port) in running.openvino.items():
        trees = {"gateway": front.tree, "model server": server_process.tree}
        compared.append(System(name, posting(port, GATEWAY_PATH, photos), trees, same_ranks(name)))
    for name, peer, port in running.peers:
        compared.append(System(name, posting(port, PEER_PATH, photos), {"peer": peer.tree}, same_ranks(name)))
    return compared


def posting(port: int, path: str, photos: Sequence[bytes]) -> Callable[[], Caller]:
    """A function that creates callers, which post single photos."""
    requests = [form_request(path, LOOPBACK, [("dog_image", "photo.jpg", photo)]) for photo in photos]
    return lambda: HttpCaller(LOOPBACK, port, requests)


def check_agreement(compared: Sequence[System], photos: int) -> None:
    """Compares the answers of all systems to all photos.

    Raises:
        Disagreement: An answer differs from that of the first system.
    """
    reference = compared[0].connect()
    callers = [(one, one.connect()) for one in compared[1:]]
    try:
        for photo in range(photos):
            expected = scores_of(reference.call(photo))
            for system, caller in callers:
                system.check(photo, caller.call(photo), expected)
    finally:
        reference.close()
        for _, caller in callers:
            caller.close()

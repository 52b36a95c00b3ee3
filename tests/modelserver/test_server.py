"""The parts of the server that follow folders and the configuration."""

from __future__ import annotations

import threading
from pathlib import Path

from modelserver.flags import parse
from modelserver.lifecycle import Lifecycle
from modelserver.models import Models
from modelserver.servable import Servable
from modelserver.server import Follower
from testing.polling import DEADLINE_SECONDS


def test_a_follower_survives_whatever_goes_wrong_while_it_looks(tmp_path: Path) -> None:
    looked: list[None] = []
    again, stop = threading.Event(), threading.Event()

    class Failing(Models):
        def scan(self) -> None:
            looked.append(None)
            if len(looked) > 1:
                again.set()
            raise RuntimeError("can't start new thread")

    def load(name: str, path: Path) -> Servable:
        raise AssertionError((name, path))

    flags = parse([f"--model_base_path={tmp_path}", "--file_system_poll_wait_seconds=0.01"])
    Follower(flags, Failing(Lifecycle(load, retries=0, retry_seconds=0), labels_ahead=False), stop, "")
    try:
        assert again.wait(DEADLINE_SECONDS)
    finally:
        stop.set()

"""Choose the engine of a version. Engines are imported on first use, because TensorFlow takes seconds."""

import importlib.util
import os
import threading
from pathlib import Path
from typing import Protocol

from modelserver.batching import Scheduler
from modelserver.config import Batching
from modelserver.errors import ConfigError
from modelserver.flags import Flags
from modelserver.light import skip_public_api
from modelserver.quiet import stderr_held_back
from modelserver.servable import NETWORK, Servable


class _Engine(Protocol):
    def load(self, path: Path) -> Servable: ...


class Engines:
    """The available engines.

    Args:
        flags: The flags; `engine` selects the engine.
        batching: Batching parameters; None for no batching.

    Raises:
        ConfigError: The selected engine is not installed, or none is.
    """

    def __init__(self, flags: Flags, batching: Batching | None) -> None:
        self._flags = flags
        self._batching = batching
        self._lock = threading.Lock()
        self._started: dict[str, _Engine] = {}
        self._installed = {name for name in ("tensorflow", "openvino") if importlib.util.find_spec(name) is not None}
        if flags.engine != "auto" and flags.engine not in self._installed:
            raise ConfigError(f"--engine={flags.engine}: the Python package {flags.engine} is not installed")
        if not self._installed:
            raise ConfigError("neither the Python package openvino nor tensorflow is installed")
        if flags.engine == "tensorflow":
            self._engine("tensorflow")

    def load(self, path: Path) -> Servable:
        """Loads a version.

        Raises:
            OSError: A file is missing or cannot be read.
            Exception: The engine cannot load the model.
        """
        return self._engine(self._choice(path)).load(path)

    def _choice(self, path: Path) -> str:
        if self._flags.engine != "auto":
            return self._flags.engine
        if "tensorflow" not in self._installed:
            return "openvino"
        return "openvino" if "openvino" in self._installed and (path / NETWORK).is_file() else "tensorflow"

    def _engine(self, name: str) -> _Engine:
        with self._lock:
            if name not in self._started:
                self._started[name] = self._openvino() if name == "openvino" else self._tensorflow()
            return self._started[name]

    def _openvino(self) -> _Engine:
        from modelserver.openvino_engine import OpenVinoEngine

        flags = self._flags
        threads = flags.tensorflow_intra_op_parallelism or flags.tensorflow_session_parallelism
        return OpenVinoEngine(flags.saved_model_tags.split(","), self._batching, threads=threads)

    def _tensorflow(self) -> _Engine:
        scheduler = Scheduler(self._batching) if self._batching is not None else None
        # By default, TensorFlow does not use oneDNN on some processors (AVX2), although it is 1.25 times as fast there.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
        with stderr_held_back():
            skip_public_api()
            from modelserver.tensorflow_engine import TensorFlowEngine

        flags, both = self._flags, self._flags.tensorflow_session_parallelism
        return TensorFlowEngine(
            flags.saved_model_tags.split(","),
            scheduler,
            intra_op_threads=flags.tensorflow_intra_op_parallelism or both,
            inter_op_threads=flags.tensorflow_inter_op_parallelism or both,
        )

"""Batch concurrent calls: calls that wait while others compute run together, and each gets its own rows.

As in TensorFlow Serving, one set of threads runs the batches of all models, a batch is ready when it is full or its
oldest call has waited long enough, and one bad call fails all calls of its batch. Batches use the same session callable
as single calls, so the model is in memory once; with the batching operation of TensorFlow, it took three times as much.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import grpc
import numpy as np

from modelserver.config import Batching
from modelserver.errors import ServingError, failed_precondition
from modelserver.tensors import Array

Run = Callable[..., list[Array]]


@dataclass(slots=True)
class _Call:
    arrays: Sequence[Array]
    names: Sequence[str]
    rows: int
    due: float
    answer: "Future[list[Array]]" = field(default_factory=Future)


class Scheduler:
    """The queues of calls, and the threads that run their batches.

    Args:
        batching: Batching parameters of all queues.
    """

    def __init__(self, batching: Batching) -> None:
        self.batching = batching
        self._changed = threading.Condition()
        self._queues: dict[Run, deque[_Call]] = {}
        for _ in range(batching.threads):
            threading.Thread(target=self._work, name="batch", daemon=True).start()

    def run(self, run: Run, arrays: Sequence[Array], names: Sequence[str]) -> list[Array]:
        """Computes ``run(*arrays)`` together with other calls of the same ``run``.

        Args:
            run: Function from arrays to arrays with the same number of rows. Calls with the same function share
                batches.
            arrays: Arrays with the same number of rows, at least one.
            names: Names of the arrays, for messages; the same for every call of this ``run``.

        Raises:
            ServingError: UNAVAILABLE if too many calls wait; FAILED_PRECONDITION if the batch contains rows of another
                shape.
            Exception: As ``run`` raises it for the rows of the batch, including those of other calls.
        """
        size = self.batching.execution_size
        rows = len(arrays[0])
        due = time.monotonic() + self.batching.timeout_micros / 1e6
        starts = range(0, max(rows, 1), size)
        calls = [_Call([a[at : at + size] for a in arrays], names, min(size, rows - at), due) for at in starts]
        with self._changed:
            # Every queue contains at least one call, so a refused call must not leave an empty queue behind.
            if sum(call.rows for call in self._queues.get(run, ())) + rows > size * self.batching.max_enqueued_batches:
                raise ServingError(
                    grpc.StatusCode.UNAVAILABLE,
                    "The batch scheduling queue to which this task was submitted is full; "
                    f"max_enqueued_batches is {self.batching.max_enqueued_batches}",
                )
            self._queues.setdefault(run, deque()).extend(calls)
            self._changed.notify()
        for call in calls:
            call.answer.exception()  # wait for all parts, because each uses the version
        answers = [call.answer.result() for call in calls]
        return answers[0] if len(answers) == 1 else [np.concatenate(columns) for columns in zip(*answers, strict=True)]

    def _work(self) -> None:
        while True:
            self._compute(*self._next())  # no variable, because it would keep the last rows and their model in memory

    def _next(self) -> tuple[Run, list[_Call]]:
        with self._changed:
            while (ready := self._ready()) is None:
                self._changed.wait(self._until_due())
            return ready, self._take(ready)

    def _ready(self) -> Run | None:
        # The queue, among those that are full or due, whose first call is due first.
        now, size = time.monotonic(), self.batching.execution_size
        ready = [
            (waiting[0].due, run)
            for run, waiting in self._queues.items()
            if waiting[0].due <= now or sum(call.rows for call in waiting) >= size
        ]
        return min(ready, key=lambda one: one[0])[1] if ready else None

    def _until_due(self) -> float | None:
        first = min((waiting[0].due for waiting in self._queues.values()), default=None)
        return None if first is None else max(0.0, first - time.monotonic())

    def _take(self, run: Run) -> list[_Call]:
        """The first call, and further ones that fit into the batch."""
        waiting = self._queues.pop(run)
        batch: list[_Call] = []
        left: deque[_Call] = deque()
        free = self.batching.execution_size
        for call in waiting:
            fits = call.rows <= free
            (batch if fits else left).append(call)
            free -= call.rows if fits else 0
        if left:
            self._queues[run] = left
            self._changed.notify()
        return batch

    def _compute(self, run: Run, calls: Sequence[_Call]) -> None:
        try:
            answers = self._joined(run, calls)
        except Exception as error:
            for call in calls:
                call.answer.set_exception(error)
        else:
            for call, answer in zip(calls, answers, strict=True):
                call.answer.set_result(answer)

    def _joined(self, run: Run, calls: Sequence[_Call]) -> list[list[Array]]:
        columns = list(zip(*(call.arrays for call in calls), strict=True))
        for name, column in zip(calls[0].names, columns, strict=True):
            if len({array.shape[1:] for array in column}) > 1:
                raise failed_precondition(
                    f"Tensors with name '{name}' from different tasks have different shapes and padding is turned off."
                    "Set pad_variable_length_inputs to true, or ensure that all tensors with the same name"
                    "have equal dimensions starting with the first dim."
                )
        rows = sum(call.rows for call in calls)
        size = next((allowed for allowed in self.batching.allowed_sizes if allowed >= rows), rows)
        padding = [[array[:1]] * (size - rows) for array in calls[0].arrays]
        inputs = [[*column, *more] for column, more in zip(columns, padding, strict=True)]
        results = run(*(part[0] if len(part) == 1 else np.concatenate(part) for part in inputs))
        if any(result.ndim == 0 or len(result) != size for result in results):
            raise failed_precondition("Batched output tensor's 0th dimension does not equal the batch size")
        ends = np.cumsum([call.rows for call in calls]).tolist()
        return [[result[end - call.rows : end] for result in results] for call, end in zip(calls, ends, strict=True)]

"""A rollout: more and more traffic for a new version, as long as the guard does not object."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from trainer.console import progress, say
from trainer.errors import TrainerError
from trainer.model_card import JSON
from trainer.rollout.guard import Guard, Tolerances
from trainer.rollout.metrics import SHARE, Increases, Sample, Source
from trainer.rollout.sequential import Counts
from trainer.rollout.signals import Versions, slow_bound
from trainer.rollout.split_file import write_split

POLL_SECONDS: Final = 1.0

BLIND_SECONDS: Final = 15.0
"""A rollout without metrics for so long is taken back."""

EFFECT_SECONDS: Final = 120.0
"""Gateways must use a new share within this time. They take a second; a Prometheus may take a minute to say so."""

STABLE_ANSWERS: Final = 100
"""Answers of the old version that are needed before the first step, as something to compare with."""


FIRST_ANSWERS_SECONDS: Final = 3600.0
"""The old version must give these answers within this time, by default."""


class RolledBack(TrainerError):
    """The guard objected, or the rollout could not be watched. The share of the new version is back at 0."""

    exit_status = 4


@dataclass(frozen=True)
class Plan:
    """What to roll out and how.

    Attributes:
        name: Name of the model.
        stable: Version that answers now.
        canary: Version to roll out.
        labels: Labels of both.
        steps: Percentages of the traffic, ascending; 100 moves the stable label.
        answers: Answers of the new version that a step needs.
        seconds: Time that a step takes at least.
        split: File with the traffic split.
        tolerances: What the guard accepts.
        expected_disagreement: See `Guard`.
        first_answers_seconds: Time within which the old version must give `STABLE_ANSWERS` answers.
    """

    name: str
    stable: int
    canary: int
    split: Path
    labels: tuple[str, str] = ("stable", "canary")
    steps: Sequence[float] = (1, 5, 25, 100)
    answers: int = 300
    seconds: float = 60.0
    tolerances: Tolerances = field(default_factory=Tolerances)
    expected_disagreement: float | None = None
    first_answers_seconds: float = FIRST_ANSWERS_SECONDS


class Rollout:
    """One rollout.

    Args:
        plan: What to roll out and how.
        source: Metrics of the gateways.
        start: Called once the old version answers everything: gives the new version its label.
        finish: Called at 100 %: moves the stable label to the new version.
        record: Keeps what happened: kind of event and details.
        poll_seconds: Time between two looks at the metrics.
    """

    def __init__(
        self,
        plan: Plan,
        source: Source,
        start: Callable[[], object],
        finish: Callable[[], object],
        record: Callable[[dict[str, JSON]], None],
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._plan, self._source, self._record = plan, source, record
        self._start, self._finish = start, finish
        self._poll_seconds = poll_seconds
        self._increases = Increases()
        self._stable_shares: list[float] = []
        self._seen_at = time.monotonic()
        shadows = frozenset(
            name for target in (plan.labels[1], str(plan.canary)) for name in (target, f"{plan.name}/{target}")
        )
        self._versions = Versions(plan.stable, plan.canary, shadows)
        self._guard: Guard | None = None

    def run(self) -> None:
        """Takes all steps.

        Raises:
            RolledBack: The guard objected. The message has the reasons.
            KeyboardInterrupt: It was stopped. The share is back at 0.
        """
        share, finished = 0.0, False
        try:
            self._prepare()
            self._start()
            for share in self._plan.steps:
                if share >= 100:
                    self._finish()
                    finished = True
                    write_split(self._plan.split, self._plan.name, {self._plan.labels[0]: 100})
                    self._record({"share": 100, "outcome": "completed", **self._evidence()})
                    stable = self._plan.labels[0]
                    say(f"{self._plan.name}: {stable} is now version {self._plan.canary}, which answers everything")
                else:
                    self._step(share)
            if share < 100:
                say(f"version {self._plan.canary} keeps {share:g} % of the traffic; nothing watches it any more")
        except BaseException as error:
            if finished or (not isinstance(error, RolledBack) and share == 0.0):
                raise  # the new version is the stable one now, or nothing was changed yet
            took = self._back()
            reason = str(error) or "stopped by hand"
            ended: dict[str, JSON] = {"from": share, "reason": reason, "seconds_to_zero": took and round(took, 1)}
            self._record({"share": 0, "outcome": "rolled back", **ended, **self._evidence()})
            where = "back at 0 % of the traffic" + (f" after {took:.1f} s" if took is not None else "")
            if isinstance(error, TrainerError):
                raise RolledBack(f"{self._plan.name} version {self._plan.canary} is {where}: {reason}") from error
            error.add_note(f"version {self._plan.canary} is {where}")
            raise

    def _prepare(self) -> None:
        """Gives the old version everything, waits until there is something to compare with, and creates the guard.

        Without a split, the gateway would give everything to the new version as soon as it is loaded.

        Raises:
            TrainerError: The old version gave too few answers in the time that it had.
        """
        plan = self._plan
        write_split(plan.split, plan.name, {plan.labels[0]: 100})
        started = time.monotonic()
        before: list[Sample] = []
        answered = 0
        with progress(f"Waiting for {STABLE_ANSWERS} answers of version {plan.stable}", STABLE_ANSWERS) as advance:
            while True:
                before += self._read()
                total = self._versions.observe(before).stable.get("errors", Counts()).total
                advance(min(total, STABLE_ANSWERS) - answered)
                answered = min(total, STABLE_ANSWERS)
                if self._in_effect(0.0, time.monotonic() - started) and answered >= STABLE_ANSWERS:
                    break
                if answered < STABLE_ANSWERS and time.monotonic() - started >= plan.first_answers_seconds:
                    raise TrainerError(
                        f"version {plan.stable} of {plan.name} gave {answered} of {STABLE_ANSWERS} answers in "
                        f"{plan.first_answers_seconds:g} s, too few to compare version {plan.canary} with; it was not "
                        "given any traffic. --metrics or --prometheus must name every gateway that has callers; with "
                        "few callers, give --first-answers-seconds more time"
                    )
                time.sleep(self._poll_seconds)
        bound = slow_bound(before, plan.stable)
        self._versions = dataclasses.replace(self._versions, slow_seconds=bound)
        self._guard = Guard(self._versions.observe(before), plan.tolerances, plan.expected_disagreement)
        say(f"calls are slow if the model server takes over {bound:g} s" if bound else "latency is not watched")

    def _step(self, share: float) -> None:
        plan, guard = self._plan, self._guard
        assert guard is not None
        stable, canary = plan.labels
        write_split(plan.split, plan.name, {stable: 100 - share, canary: share})
        self._record({"share": share, "outcome": "step"})
        started = time.monotonic()
        before = guard.counts("errors").total
        in_effect = False
        with progress(f"{share:g} % to version {plan.canary}", plan.answers) as advance:
            while True:
                time.sleep(self._poll_seconds)
                answered = guard.counts("errors").total
                objection = guard.observe(self._versions.observe(self._read()))
                if objection:
                    raise RolledBack(objection)
                highest = max(guard.tests.items(), key=lambda one: one[1].evidence * one[1].alpha)
                note = f"most evidence against it: {highest[0]}, e-value {highest[1].evidence:.2g}"
                advance(guard.counts("errors").total - answered, note)
                elapsed = time.monotonic() - started
                in_effect = in_effect or self._in_effect(share, elapsed)
                if in_effect and elapsed >= plan.seconds and guard.counts("errors").total - before >= plan.answers:
                    return

    def _in_effect(self, share: float, seconds: float) -> bool:
        """Whether all gateways use a share, a number of seconds after it was written.

        Raises:
            RolledBack: They still do not, though they had time enough.
        """
        expected = 1 - share / 100
        if self._stable_shares and all(abs(one - expected) < 1e-6 for one in self._stable_shares):
            return True
        if seconds < EFFECT_SECONDS:
            return False
        shares = ", ".join(f"{one:.1%}" for one in self._stable_shares) or "none"
        raise RolledBack(
            f"the gateways do not use {self._plan.split}: after {EFFECT_SECONDS:g} s, the share of "
            f"{self._plan.labels[0]!r} in their metrics is {shares} instead of {expected:.1%}"
        )

    def _read(self) -> list[Sample]:
        """What was added to the metrics; nothing if they cannot be read for a short time."""
        try:
            samples = self._source.read(self._plan.name)
        except TrainerError as error:
            if time.monotonic() - self._seen_at > BLIND_SECONDS:
                raise RolledBack(f"the rollout cannot be watched: {error}") from error
            return []
        self._seen_at = time.monotonic()
        stable = self._plan.labels[0]
        self._stable_shares = [one.value for one in samples if one.name == SHARE and one.by_label["target"] == stable]
        return self._increases.of([one for one in samples if one.name != SHARE])

    def _back(self) -> float | None:
        """Sets the share to 0. Returns the seconds until all gateways used it; None if they do not say so."""
        started = time.monotonic()
        write_split(self._plan.split, self._plan.name, {self._plan.labels[0]: 100})
        while time.monotonic() - started < BLIND_SECONDS:
            try:
                self._read()
            except (RolledBack, KeyboardInterrupt):
                return None
            if self._in_effect(0.0, 0.0):
                return time.monotonic() - started
            time.sleep(min(0.2, self._poll_seconds))
        return None

    def _evidence(self) -> dict[str, JSON]:
        if self._guard is None:
            return {}
        return {
            "evidence": {
                signal: {"e_value": float(f"{test.evidence:.4g}"), "limit": 1 / test.alpha,
                         "hits": self._guard.counts(signal).hits, "answers": self._guard.counts(signal).total}
                for signal, test in self._guard.tests.items()
            }
        }  # fmt: skip

"""Search for the settings of a logistic head on cached features, within a time limit."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from trainer.console import say
from trainer.training.cross_validation import hold_out
from trainer.training.logistic_head import Training

STRENGTHS: Final = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Inverse strengths of the regularisation, strongest first; see `cross_validation.STRENGTHS`."""

VIEWS: Final = (1, 2, 4, 8)


@dataclass(frozen=True)
class Trial:
    """The log-loss of a head in cross-validation, and its standard error."""

    views: int
    strength: float
    loss: float
    error: float


def tune(training: Callable[[int], Training], folds: int, seconds: float) -> Trial | None:
    """Returns the simplest trial whose log-loss is within one standard error of the best one.

    Simpler is a trial with fewer views, then with more regularisation.

    Args:
        training: Number of views -> what to fit to; computes features that are not cached yet.
        folds: Of the cross-validation.
        seconds: No number of views is tried that would take longer, if twice as many views take twice as long. The
            first is always tried.

    Returns:
        The trial; None where no class has two photos.
    """
    began = time.monotonic()
    trials: list[Trial] = []
    took = 0.0
    for views in VIEWS:
        started = time.monotonic()
        if trials and started - began + 2 * took > seconds:
            say(f"tuning: the time is up; {views} views and more were not tried")
            break
        held_out = hold_out(training(views), folds, STRENGTHS)
        if held_out is None:
            return None
        trials += [Trial(views, strength, *held_out.losses[strength]) for strength in STRENGTHS]
        took = time.monotonic() - started
        best = min(trials[-len(STRENGTHS) :], key=lambda one: one.loss)
        say(f"tuning: {views} views: log-loss {best.loss:.4f} \u00b1 {best.error:.4f} at strength {best.strength:g}")
    trial = simplest(trials)
    say(
        f"tuning chose {trial.views} views and strength {trial.strength:g}; "
        f"--views {trial.views} --strength {trial.strength:g} repeats it"
    )
    return trial


def simplest(trials: Sequence[Trial]) -> Trial:
    """Returns the first trial within one standard error of the best; trials are in the order of their simplicity."""
    best = min(trials, key=lambda one: one.loss)
    return next(one for one in trials if one.loss <= best.loss + best.error)

"""The search for views and regularisation: what it chooses, and when it stops."""

import time

import numpy as np
import pytest

from tests.trainer.training.test_logistic_head import clusters
from trainer.training import tuning
from trainer.training.logistic_head import Training
from trainer.training.tuning import Trial, simplest, tune


def test_the_simplest_of_those_that_are_as_good_is_chosen() -> None:
    losses = {(1, 0.01): 0.3, (1, 0.1): 0.215, (2, 0.01): 0.21, (2, 1.0): 0.2}
    trials = [Trial(views, strength, loss, 0.02) for (views, strength), loss in losses.items()]
    assert simplest(trials) is trials[1]


def test_views_that_help_are_chosen_and_the_command_line_that_repeats_it_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    everything = clusters(120, views=8, distance=2.0)

    def training(views: int) -> Training:
        # Only the mean of many views says much of a photo.
        generator = np.random.default_rng(views)
        noisy = everything.features[:, :views] + generator.normal(0, 0.4 / views, everything.features[:, :views].shape)
        return Training(noisy.astype(np.float32), everything.labels, everything.keys, everything.class_weights)

    trial = tune(training, 3, 3600)
    assert trial is not None
    assert trial.views > 1
    out = capsys.readouterr().out
    assert f"--views {trial.views} --strength {trial.strength:g} repeats it" in out
    assert "8 views: log-loss" in out


def test_no_more_views_are_tried_than_there_is_time_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    tried = []

    def training(views: int) -> Training:
        tried.append(views)
        clock[0] += 10.0 * views
        return clusters(60, views=views)

    assert tune(training, 3, 65) is not None
    assert tried == [1, 2]  # after 30 s, 4 views would take 40 s more
    assert "4 views and more were not tried" in capsys.readouterr().out


def test_every_strength_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "VIEWS", (1,))
    strengths: list[float] = []
    fit = Training.fit

    def watched(self: Training, mask: np.ndarray, strength: float) -> object:
        strengths.append(strength)
        return fit(self, mask, strength)

    monkeypatch.setattr(Training, "fit", watched)
    tune(lambda views: clusters(60, views=views), 3, 1)
    assert set(strengths) == set(tuning.STRENGTHS)

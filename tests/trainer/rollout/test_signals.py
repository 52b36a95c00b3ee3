"""What is counted of the metrics of gateways, and what the guard says of it."""

import pytest

from trainer.rollout.guard import Guard, Observation
from trainer.rollout.metrics import Sample
from trainer.rollout.sequential import Counts
from trainer.rollout.signals import LATENCY, Versions, slow_bound

VERSIONS = Versions(4, 5, frozenset({"canary"}), slow_seconds=0.1)


def sample(name: str, value: float, **labels: str) -> Sample:
    return Sample("http://gateway", name, tuple(sorted({"model": "dogs", **labels}.items())), value)


def calls(version: int, fast: int, slow: int) -> list[Sample]:
    """A histogram of calls, some of up to 0.1 s and others of over 0.25 s."""
    bounds = {"0.05": 0, "0.1": fast, "0.25": fast, "1.0": fast + slow, "+Inf": fast + slow}
    return [sample(LATENCY, count, version=str(version), le=le) for le, count in bounds.items()]


def test_requests_of_callers_who_made_a_mistake_count_for_neither_version() -> None:
    observation = VERSIONS.observe(
        [sample("gateway_requests_total", count, version="5", status=status) for status, count in (
            ("200", 90), ("503", 7), ("400", 1000), ("429", 1000), ("aborted", 1000),
        )] + [sample("gateway_requests_total", 50, version="4", status="200")]
    )  # fmt: skip
    assert observation.canary["errors"] == Counts(7, 97)
    assert observation.stable["errors"] == Counts(0, 50)


def test_feedback_that_was_withdrawn_does_not_count_and_none_counts_as_wrong() -> None:
    observation = VERSIONS.observe(
        [sample("gateway_feedback_total", count, version=version, verdict=verdict) for version, verdict, count in (
            ("5", "right", 20), ("5", "wrong", 3), ("5", "none", 2), ("5", "withdrawn", 9), ("", "wrong", 9),
        )]
    )  # fmt: skip
    assert observation.canary["feedback"] == Counts(5, 25)
    assert "feedback" not in observation.stable


def test_only_the_shadow_that_is_the_new_version_is_compared() -> None:
    observation = VERSIONS.observe(
        [sample("gateway_shadow_images_total", count, target=target, outcome=outcome) for target, outcome, count in (
            ("canary", "agree", 95), ("canary", "disagree", 5), ("canary", "dropped", 40), ("beta", "disagree", 70),
        )]
    )  # fmt: skip
    assert observation.canary["disagreement"] == Counts(5, 100)


def test_unknown_photos_have_a_label_of_their_own() -> None:
    observation = VERSIONS.observe(
        [sample("gateway_predictions_total", count, version="4", label=label) for label, count in (
            ("Boxer", 80), ("(unknown)", 15), ("(other)", 5),
        )]
    )  # fmt: skip
    assert observation.stable["unknown"] == Counts(15, 100)


def test_slow_is_what_a_tenth_of_the_old_version_is_at_most() -> None:
    assert slow_bound(calls(4, fast=95, slow=5), 4) == 0.1
    assert slow_bound(calls(4, fast=80, slow=20), 4) == 1.0
    assert slow_bound(calls(5, fast=95, slow=5), 4) is None
    assert VERSIONS.observe(calls(5, fast=60, slow=40)).canary["latency"] == Counts(40, 100)


@pytest.mark.parametrize(("slow", "objects"), [(8, False), (30, True)])
def test_the_guard_objects_to_a_slow_version_in_words(slow: int, objects: bool) -> None:
    guard = Guard(VERSIONS.observe(calls(4, fast=950, slow=50)))
    objection = None
    for _ in range(10):
        new = VERSIONS.observe(calls(4, fast=190, slow=10) + calls(5, fast=100 - slow, slow=slow))
        objection = objection or guard.observe(new)
    assert bool(objection) == objects
    if objection:
        assert objection.startswith("latency: slow calls of the model server: ")
        assert "(30.0%) of the new version, of the old version " in objection
        assert "(5.0%) (e-value " in objection


def test_a_signal_that_is_not_there_is_no_evidence() -> None:
    guard = Guard(Observation(), expected_disagreement=None)
    assert "disagreement" not in guard.tests
    assert guard.observe(Observation()) is None
    assert all(test.evidence == pytest.approx(1.0) for test in guard.tests.values())

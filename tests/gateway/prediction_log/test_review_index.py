from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from gateway.prediction_log.records import Feedback, Prediction, Score, Shadow
from gateway.prediction_log.review_index import ReviewIndex
from gateway.prediction_log.review_photo import Filters, Photo

DAY = "2026-03-01"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def digest(number: int) -> str:
    return f"{number:064x}"


def prediction(number: int, *scores: float, minutes: float = 0, **fields: object) -> Prediction:
    """An answer to a photo: scores of cat, dog and fox."""
    scored = sorted(zip(scores or (0.9, 0.1), ("cat", "dog", "fox"), strict=False), reverse=True)
    values: dict[str, object] = {
        "time": NOON + timedelta(minutes=minutes),
        "request_id": f"request-{number}",
        "model": "pets",
        "version": 1,
        "label": scored[0][1],
        "scores": [Score(label=label, score=score) for score, label in scored],
        "digest": digest(number),
        "bytes": 1000,
        "milliseconds": 5,
        "photo": "all",
    }
    return Prediction.model_validate(values | fields)


def review(number: int, decision: str, reviewer: str, minutes: float, label: str | None = None) -> Feedback:
    verdict = {"confirmed": "right", "relabelled": "wrong", "withdrawn": "withdrawn"}.get(decision, "none")
    return Feedback.model_validate(
        {
            "time": NOON + timedelta(minutes=minutes),
            "digest": digest(number),
            "model": "pets",
            "verdict": verdict,
            "label": label,
            "key": reviewer,
            "review": decision,
        }
    )


def index(*records: Prediction | Feedback | Shadow, stored: Iterable[int] = range(100)) -> ReviewIndex:
    made = ReviewIndex()
    made.add(record.model_dump_json().encode() for record in records)
    made.set_stored(DAY, {digest(number) for number in stored})
    made.arrange()
    return made


def listed(made: ReviewIndex, filters: Filters | None = None) -> list[int]:
    photos, _ = made.page(filters or Filters(), None, 100)
    return [int(photo.digest, 16) for photo in photos]


def photo(made: ReviewIndex, number: int) -> Photo:
    stored_photo = made.get(digest(number))
    assert stored_photo is not None
    return stored_photo


def test_the_most_useful_photos_come_first() -> None:
    made = index(
        prediction(1, 0.99, 0.01),
        prediction(2, 0.5, 0.45),
        prediction(3, 0.9, 0.1),
        Feedback(time=NOON, request_id="request-3", model="pets", verdict="wrong", label="dog"),
        prediction(4, 0.8, 0.2),
        prediction(4, 0.2, 0.8, version=2, minutes=1),
        prediction(5, 0.4, 0.3, 0.3, label=None),
        prediction(6, 0.7, 0.3),
        Feedback(time=NOON, request_id="request-6", model="pets", verdict="right"),
    )
    assert listed(made) == [3, 4, 5, 2, 6, 1]
    reasons = {number: made.reasons(photo(made, number)) for number in range(1, 7)}
    assert reasons == {1: [], 2: ["unsure"], 3: ["feedback"], 4: ["versions"], 5: ["unknown"], 6: []}


def test_feedback_that_was_withdrawn_or_replaced_does_not_count() -> None:
    feedback = [
        Feedback(time=NOON, request_id="request-1", model="pets", verdict="wrong", label="dog"),
        Feedback(time=NOON + timedelta(minutes=1), request_id="request-1", model="pets", verdict="withdrawn"),
        Feedback(time=NOON, digest=digest(2), model="pets", verdict="none"),
        Feedback(time=NOON + timedelta(minutes=1), digest=digest(2), model="pets", verdict="right"),
    ]
    for records in (feedback, feedback[::-1]):  # segments of several gateways are read in any order
        made = index(*records, prediction(1), prediction(2))
        assert made.reasons(photo(made, 1)) == made.reasons(photo(made, 2)) == []


def test_photos_on_which_a_shadow_disagrees_come_before_others() -> None:
    def shadow(number: int, label: str | None) -> Shadow:
        return Shadow(request_id=f"request-{number}", model="pets", version=2, label=label, score=0.9)

    records: list[Prediction | Shadow] = [
        prediction(1, 0.99, 0.01),
        prediction(2),
        prediction(3),
        shadow(1, "dog"),
        shadow(2, "cat"),
    ]
    for ordered in (records, records[::-1]):
        made = index(*ordered)
        assert listed(made)[0] == 1
        assert {number: made.reasons(photo(made, number)) for number in (1, 2, 3)} == {1: ["versions"], 2: [], 3: []}


def test_all_labels_of_multi_label_answers_are_compared_in_any_order() -> None:
    def shadow(number: int, *labels: str) -> Shadow:
        label = labels[0] if labels else None
        return Shadow(request_id=f"request-{number}", model="pets", version=2, label=label, labels=labels, score=0.9)

    made = index(
        *(prediction(number, labels=("cat", "dog"), margin=0.9) for number in (1, 2, 3, 4)),
        prediction(4, version=3, minutes=1, labels=("cat",), margin=0.9),
        shadow(1, "dog", "cat"),
        shadow(2, "cat"),
        shadow(3),
    )
    assert {number: made.reasons(photo(made, number)) for number in (1, 2, 3, 4)} == {
        1: [],
        2: ["versions"],
        3: ["versions"],
        4: ["versions"],
    }


def test_a_multi_label_answer_is_unsure_near_a_threshold_and_not_because_it_has_no_labels() -> None:
    made = index(
        prediction(1, 0.6, 0.55, labels=("cat", "dog"), margin=0.7),
        prediction(2, 0.1, 0.05, label=None, labels=(), margin=0.6),
        prediction(3, 0.9, 0.1, labels=("cat",), margin=0.1),
    )
    assert listed(made) == [3, 2, 1]
    assert {number: made.reasons(photo(made, number)) for number in (1, 2, 3)} == {1: [], 2: [], 3: ["unsure"]}


def test_only_photos_that_are_stored_are_listed() -> None:
    made = index(prediction(1), prediction(2), prediction(3, photo=None), stored=[1, 3])
    assert listed(made) == [1]
    made.remove(digest(1))
    assert listed(made) == []
    assert made.get(digest(1)) is None
    made.set_stored(DAY, {digest(2)})
    made.arrange()
    assert listed(made) == [2]
    made.keep_days(set())
    made.arrange()
    assert listed(made) == []


def test_a_photo_that_was_removed_is_listed_again_if_a_later_list_has_it() -> None:
    made = index(prediction(1), prediction(2))
    made.remove(digest(1))
    made.set_stored(DAY, {digest(1), digest(2)})
    made.arrange()
    assert listed(made) == [2]
    made.begin_listing()
    made.set_stored(DAY, {digest(1), digest(2)})
    made.arrange()
    assert listed(made) == [1, 2]


def test_lines_that_are_no_records_are_left_out() -> None:
    made = ReviewIndex()
    good = prediction(1).model_dump_json().encode()
    newer = good.replace(b'"kind"', b'"more":1,"kind"')
    assert made.add([b"{", newer, good, b'{"kind":"thing"}']) == 3
    made.set_stored(DAY, {digest(1)})
    made.arrange()
    assert listed(made) == [1]


def test_the_last_decision_counts_and_different_ones_are_a_conflict() -> None:
    made = index(
        *(prediction(number) for number in range(1, 6)),
        review(2, "confirmed", "ann", 1, "cat"),
        review(3, "confirmed", "ann", 1, "cat"),
        review(3, "confirmed", "bob", 2, "cat"),
        review(4, "relabelled", "bob", 2, "dog"),
        review(4, "confirmed", "ann", 1, "cat"),  # an earlier one, that is read later
        review(5, "confirmed", "ann", 1, "cat"),
        review(5, "withdrawn", "ann", 2),
    )
    assert {number: photo(made, number).status for number in range(1, 6)} == {
        1: "open",
        2: "reviewed",
        3: "reviewed",
        4: "conflicts",
        5: "open",
    }
    assert list(photo(made, 4).standing) == ["ann", "bob"]
    assert listed(made, Filters(status="conflicts")) == [4]
    assert sorted(listed(made, Filters(status="reviewed"))) == [2, 3]
    assert made.counts.status == {"open": 2, "reviewed": 2, "conflicts": 1}
    made.add([review(4, "relabelled", "ann", 3, "dog").model_dump_json().encode()])
    assert photo(made, 4).status == "reviewed"
    before = len(photo(made, 4).reviews)
    made.add([review(4, "relabelled", "ann", 3, "dog").model_dump_json().encode()])
    assert len(photo(made, 4).reviews) == before, "a record that is read twice counts once"


def test_a_photo_that_was_deleted_and_sent_again_is_open() -> None:
    made = index(
        prediction(1),
        review(1, "confirmed", "ann", 1, "cat"),
        review(1, "deleted", "bob", 2),
        prediction(1, minutes=3, request_id="again"),
        prediction(2),
        review(2, "deleted", "bob", 2),
    )
    assert (photo(made, 1).status, photo(made, 1).standing) == ("open", {})
    assert photo(made, 2).status == "reviewed"
    assert listed(made) == [1]
    made.add([review(1, "discarded", "ann", 4).model_dump_json().encode()])
    assert (photo(made, 1).status, list(photo(made, 1).standing)) == ("reviewed", ["ann"])


def test_an_answer_that_is_read_twice_counts_once() -> None:
    feedback = Feedback(time=NOON, request_id="request-1", model="pets", verdict="wrong", label="dog")
    made = index(prediction(1), prediction(1), feedback)
    assert made.feedback(photo(made, 1)) == [feedback]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(label="dog"), {2}),
        (Filters(label=""), {3}),
        (Filters(version=2), {4}),
        (Filters(model="others"), {5}),
        (Filters(since=NOON + timedelta(minutes=30)), {4, 5}),
        (Filters(until=NOON + timedelta(minutes=30)), {1, 2, 3}),
        (Filters(status="all", label="cat", version=2), {4}),
    ],
)
def test_filters(filters: Filters, expected: set[int]) -> None:
    made = index(
        prediction(1),
        prediction(2, 0.1, 0.9),
        prediction(3, label=None),
        prediction(4, version=2, minutes=40),
        prediction(5, model="others", minutes=50),
    )
    assert set(listed(made, filters)) == expected


def test_pages_show_every_photo_once_even_if_decisions_come_in_between() -> None:
    made = index(*(prediction(number, 0.5 + number / 1000, 0.4) for number in range(50)))
    calls: list[int] = []
    after, more = None, True
    while more:
        photos, more = made.page(Filters(), after, 7)
        calls += [int(one.digest, 16) for one in photos]
        after = made.place(photos[-1])
        made.add([review(calls[-1], "discarded", "ann", 1).model_dump_json().encode()])
    assert calls == list(range(50))

"""Poor photos: which measures are a problem, and which come first."""

from pathlib import Path

from trainer.check.photos import quality_findings
from trainer.data.photos import Photo
from trainer.data.quality import Quality

GOOD = Quality(width=640, height=480, sharpness=0.3, brightness=120.0, contrast=60.0, colour=30.0)


def problems_of(*measured: Quality, good: int = 20) -> list[tuple[str, str]]:
    """Problems among so many good photos, with the names of the files."""
    all_measures = [*measured, *[GOOD] * good]
    photos = [Photo(Path(f"{at}.jpg"), "x", (0,), bytes([at]) * 16, at) for at in range(len(all_measures))]
    return [(one.problem, one.photo.name) for one in quality_findings(photos, all_measures, ["x"], 224)]


def changed(**measures: float) -> Quality:
    return Quality(**(GOOD.__dict__ | measures))


def test_good_photos_have_no_problem() -> None:
    assert problems_of() == []


def test_each_measure_has_its_problem() -> None:
    small, tall = changed(width=300, height=100), changed(width=167, height=900)
    blurred, empty = changed(sharpness=0.05), changed(contrast=5.0, sharpness=0.01)
    dark, bright, grey = changed(brightness=20.0), changed(brightness=250.0), changed(colour=0.5)
    assert set(problems_of(small, tall, blurred, empty, dark, bright, grey)) == {
        ("small", "0.jpg"), ("small", "1.jpg"), ("blurred", "2.jpg"), ("empty", "3.jpg"), ("dark", "4.jpg"),
        ("bright", "5.jpg"), ("grey", "6.jpg"),
    }  # fmt: skip


def test_the_worst_come_first() -> None:
    assert problems_of(changed(sharpness=0.06), changed(sharpness=0.02)) == [("blurred", "1.jpg"), ("blurred", "0.jpg")]
    assert problems_of(changed(brightness=245.0), changed(brightness=254.0)) == [
        ("bright", "1.jpg"),
        ("bright", "0.jpg"),
    ]


def test_photos_without_colour_are_no_problem_where_many_are() -> None:
    grey = changed(colour=0.5)
    assert problems_of(grey, grey, good=20) == [("grey", "0.jpg"), ("grey", "1.jpg")]
    assert problems_of(*[grey] * 10, good=20) == []

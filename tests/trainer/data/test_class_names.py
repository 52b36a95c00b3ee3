"""The labels that class folders give."""

import pytest

from trainer.data.class_names import class_labels
from trainer.errors import TrainerError


@pytest.mark.parametrize(
    ("folders", "labels"),
    [
        (["001.Affenpinscher", "002.Afghan_hound"], ["Affenpinscher", "Afghan_hound"]),
        (["0_cat", "1_dog"], ["cat", "dog"]),
        (["n02085620-Chihuahua", "n02085782-Japanese_spaniel"], ["Chihuahua", "Japanese_spaniel"]),
        (["0-2", "4-6", "8-12", "60-100"], None),
        (["0-2", "1-3", "2-4"], None),
        (["1 euro", "2 euro"], None),
        (["1 cent", "2 euro", "20 cent"], None),
        (["2012 BMW", "2013 Audi"], None),
        (["001.cat", "dog"], None),
        (["1.cat", "3.dog"], None),
        (["2001", "3d_prints", "saint_bernard"], None),
    ],
)
def test_numbers_are_taken_off_class_folders_only_where_they_count_them(
    folders: list[str], labels: list[str] | None
) -> None:
    names, warning = class_labels(folders)
    assert list(names.values()) == (labels or folders)
    assert bool(warning) == bool(labels)
    assert list(class_labels(folders, "keep")[0].values()) == folders


def test_numbers_are_taken_off_where_that_is_asked_for_and_names_stay_different() -> None:
    assert list(class_labels(["2012 BMW", "2013 Audi"], "strip")[0].values()) == ["BMW", "Audi"]
    with pytest.raises(TrainerError, match=r"'1 euro' and '2 euro' are both called 'euro'.*--class-numbers keep"):
        class_labels(["1 euro", "2 euro"], "strip")

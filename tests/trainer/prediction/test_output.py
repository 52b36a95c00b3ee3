"""Whatever the moment at which a run is killed, the next one completes its file as if nothing had happened."""

from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.errors import TrainerError
from trainer.prediction.output import Output
from trainer.prediction.records import Failure, Format, Record, format_of

RECORDS = [
    Record("photos/a.jpg", (("Boxer", 0.75), ("Saint Bernard", 0.25)), False, None, "dogs", 3, confidence=0.75),
    Record(
        'odd "name",\nwith\r\n{breaks}.jpg', (("B,x", 0.5), ("=1+1", 0.4)), True, "tabby", "dogs", 3, confidence=0.5
    ),
    Record("nicht-utf8-\udcfc.jpg", failure=Failure("invalid_image", 'The "JPEG" image is truncated.')),
    Record("'=odd.jpg", (("'-5", 0.5), ("'x", 0.25)), False, None, "dogs", 3, confidence=0.5),
    Record("=cmd()|'x'!A.jpg", (("Überhund", 1e-6), ("犬", 0.0)), False, None, "dogs", 3, confidence=1e-6),
]


@pytest.fixture(params=["jsonl", "csv"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"answers.{request.param}"


@pytest.fixture
def form(path: Path) -> Format:
    return format_of(path, 2)


def complete(path: Path, form: Format) -> bytes:
    """Writes what is missing in a file; returns its content."""
    with Output(path, form) as output:
        records = list(output.resume())
        assert records == RECORDS[: len(records)]
        for record in RECORDS[len(records) :]:
            output.append(record)
    return path.read_bytes()


def test_a_file_that_was_cut_at_any_byte_is_completed_to_the_same_file(path: Path, form: Format) -> None:
    complete_bytes = complete(path, form)
    assert len(complete_bytes) > 400
    for length in range(len(complete_bytes) + 1):
        path.write_bytes(complete_bytes[:length])
        assert complete(path, form) == complete_bytes, f"cut after {length} bytes"


def test_a_complete_row_is_never_written_again(path: Path, form: Format) -> None:
    with Output(path, form) as output:
        assert list(output.resume()) == []
        output.append(RECORDS[0])
        before = path.read_bytes()
    with path.open("ab") as file:
        file.write(form.row(RECORDS[1])[:-1])
    with Output(path, form) as output:
        assert list(output.resume()) == RECORDS[:1]
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"hello", b"my notes\n", b'[{"file": 1}]', b"a,b,c\n1,2,3\n"])
def test_a_file_of_something_else_is_left_alone(path: Path, form: Format, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(TrainerError, match="another --output"), Output(path, form) as output:
        list(output.resume())
    assert path.read_bytes() == content


def test_the_confidence_of_a_label_that_is_not_among_the_predictions_is_kept(path: Path) -> None:
    form = format_of(path, 1, multi_label=True)
    record = Record("a.jpg", (("red", 0.8),), model="m", version=1, labels=("blue", "green"), confidence=0.6)
    assert form.parse(form.row(record)) == record
    assert record.label == "blue"


def test_a_csv_file_with_other_columns_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    complete_bytes = complete(path, format_of(path, 2))
    with pytest.raises(TrainerError, match="has other columns"), Output(path, format_of(path, 3)) as output:
        list(output.resume())
    assert path.read_bytes() == complete_bytes


def test_a_damaged_row_of_csv_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    complete_bytes = complete(path, format_of(path, 2))
    path.write_bytes(complete_bytes.replace(b'"odd ""name""', b'"odd" ""name""'))
    with pytest.raises(TrainerError, match="is not a row of predictions"), Output(path, format_of(path, 2)) as output:
        list(output.resume())


def test_two_runs_cannot_write_one_file(path: Path, form: Format) -> None:
    with Output(path, form), pytest.raises(TrainerError, match="is being written by another run"):
        Output(path, form)


def test_formulas_are_escaped_in_csv(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    text = complete(path, format_of(path, 2)).decode("utf-8-sig", "surrogateescape")
    assert "\r\n'=cmd()" in text
    assert "'=1+1" in text


def test_the_name_of_the_file_chooses_the_format(tmp_path: Path) -> None:
    forms: list[Callable[[], Format]] = [lambda: format_of(tmp_path / "x.parquet", 5), lambda: format_of(tmp_path, 5)]
    for form in forms:
        with pytest.raises(TrainerError, match=r"must end in .jsonl or .csv"):
            form()

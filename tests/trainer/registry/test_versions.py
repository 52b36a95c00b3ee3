"""Versions on disk: their numbers, drafts, and what is pruned."""

import threading
from concurrent import futures
from pathlib import Path

import pytest

from testing.polling import DEADLINE_SECONDS
from tests.trainer.registry.drafts import hidden, put
from trainer.errors import TrainerError
from trainer.registry import versions
from trainer.registry.publish import check_writable, new_version, published_versions
from trainer.training.run_folder import forget


def test_versions_count_up_from_one_and_hold_what_was_written(tmp_path: Path) -> None:
    assert [put(tmp_path, text="first"), put(tmp_path, text="second")] == [1, 2]
    assert (tmp_path / "dogs/2/saved_model.pb").read_text() == "second"
    assert published_versions(tmp_path, "dogs") == [1, 2]


def test_ten_comes_after_nine_and_leading_zeros_are_counted(tmp_path: Path) -> None:
    for name in ("9", "010", "notes", ".hidden"):
        (tmp_path / "dogs" / name).mkdir(parents=True)
    assert put(tmp_path) == 11
    assert published_versions(tmp_path, "dogs") == [9, 11]


def test_nothing_is_visible_until_the_block_ends(tmp_path: Path) -> None:
    with new_version(tmp_path, "dogs") as draft:
        (draft.directory / "saved_model.pb").write_text("half")
        assert published_versions(tmp_path, "dogs") == []
        with pytest.raises(RuntimeError, match="not published yet"):
            _ = draft.path
    assert draft.path == tmp_path / "dogs/1"


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt()])
def test_a_failed_or_interrupted_draft_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def fail() -> None:
        with new_version(tmp_path, "dogs") as draft:
            (draft.directory / "saved_model.pb").write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert list((tmp_path / "dogs").iterdir()) == []


def test_an_empty_draft_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="nothing was written"), new_version(tmp_path, "dogs"):
        pass


def test_publishers_at_the_same_moment_all_get_numbers_of_their_own(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)

    def one(index: int) -> tuple[int, str]:
        with new_version(tmp_path, "dogs") as draft:
            (draft.directory / "saved_model.pb").write_text(str(index))
            barrier.wait(timeout=DEADLINE_SECONDS)
        return draft.version, str(index)

    with futures.ThreadPoolExecutor(8) as pool:
        versions = dict(pool.map(one, range(8)))
    assert sorted(versions) == list(range(1, 9))
    assert all((tmp_path / f"dogs/{number}/saved_model.pb").read_text() == text for number, text in versions.items())
    assert hidden(tmp_path / "dogs") == []


def test_a_version_can_be_read_by_a_server_of_another_user(tmp_path: Path) -> None:
    put(tmp_path)
    assert (tmp_path / "dogs/1").stat().st_mode & 0o055 == 0o055


@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc", ".hidden", "-rf", "dög", "a" * 65, "a\n", "a b"])
def test_a_name_that_is_more_than_a_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TrainerError, match="not a model name"), new_version(tmp_path, name):
        pass
    assert list(tmp_path.iterdir()) == []


def test_where_no_version_could_be_written_is_found_out_before_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_writable(tmp_path / "new" / "models", "dogs")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(TrainerError, match=r"cannot write to .*file/dogs: .*file is not a directory"):
        check_writable(tmp_path / "file", "dogs")
    monkeypatch.setattr("trainer.registry.publish.os.access", lambda *_: False)  # root may write to any folder
    with pytest.raises(TrainerError, match="is not writable"):
        check_writable(tmp_path, "dogs")


def test_what_a_run_goes_on_from_is_gone_even_when_its_deletion_is_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(path: Path, **_: object) -> None:
        if path.exists():
            raise KeyboardInterrupt

    state = tmp_path / "state"
    state.mkdir()
    (state / "head.json").write_text("{}")
    with monkeypatch.context() as patched:
        patched.setattr("trainer.training.train.shutil.rmtree", stopped)
        with pytest.raises(KeyboardInterrupt):
            forget(state)
    assert not state.exists()
    state.mkdir()
    forget(state)
    assert list(tmp_path.iterdir()) == []


def test_other_folders_beside_the_models_are_passed_over(tmp_path: Path) -> None:
    for folder in ("lost+found", "dog_breed/1", "empty"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "dog_breed" / "1" / "saved_model.pb").touch()
    assert versions.model_names(tmp_path) == ["dog_breed"]

"""Photos are found in the same order every time, wherever they are, and nothing is read before it is needed."""

import io
import itertools
import os
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fsspec import AbstractFileSystem

from trainer.errors import TrainerError
from trainer.prediction.sources import Photo, Shard, Unreadable, check_arguments, count_photos, find_photos

ALL = Shard()
FILES = {"b/2.jpg": b"two", "a.png": b"one", "b/1.jpg": b"three", "z/deep/er.gif": b"four"}
HIDDEN = (".DS_Store", "b/.hidden.jpg", "__MACOSX/a.png", "z/Thumbs.db")
FOUND = ["a.png", "b/1.jpg", "b/2.jpg", "z/deep/er.gif"]


@pytest.fixture
def archives() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for name in (*FILES, *HIDDEN):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(FILES.get(name, b"hidden"))
    return root


def contents(photos: Iterator[Photo], root: object) -> list[tuple[str, bytes]]:
    entries = [(photo.name.removeprefix(f"{root}/"), photo.read()) for photo in photos]
    assert entries
    return entries


def reason(photo: Photo) -> str:
    with pytest.raises(Unreadable) as caught:
        photo.read()
    return str(caught.value)


def test_a_folder_gives_its_files_sorted_and_without_what_systems_leave(folder: Path, archives: ExitStack) -> None:
    (folder / "b" / "cycle").symlink_to(folder)
    files = contents(find_photos([f"{folder}/"], ALL, archives), folder)
    assert files == [(name, FILES[name]) for name in FOUND]
    assert count_photos([str(folder)], ALL) == 4


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_an_archive_gives_what_the_folder_in_it_gives(
    kind: str, folder: Path, tmp_path: Path, archives: ExitStack
) -> None:
    path = tmp_path / f"photos.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as packed:
            for name in (*FILES, *HIDDEN):
                packed.write(folder / name, name)
    else:
        with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w") as packed_tar:
            packed_tar.add(folder, ".")
    photos = list(find_photos([str(path)], ALL, archives))
    assert sorted((one.name.replace("/./", "/"), one.read()) for one in photos) == [
        (f"{path}/{name}", FILES[name]) for name in FOUND
    ]
    assert all(one.read() for one in photos)  # again, as for the contact sheet
    assert count_photos([str(path)], ALL) == (4 if kind == "zip" else None)


def test_archives_that_are_damaged_or_encrypted_are_photos_that_cannot_be_read(
    tmp_path: Path, archives: ExitStack
) -> None:
    (tmp_path / "empty.zip").write_bytes(b"")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as packed:
        for number in range(3):
            member = tarfile.TarInfo(f"{number}.jpg")
            member.size = 20_000
            packed.addfile(member, io.BytesIO(os.urandom(20_000)))
    (tmp_path / "cut.tar.gz").write_bytes(stream.getvalue()[:45_000])
    with zipfile.ZipFile(tmp_path / "locked.zip", "w") as locked:
        locked.writestr("1.jpg", b"secret")
    data = bytearray((tmp_path / "locked.zip").read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1  # says that it is encrypted
    (tmp_path / "locked.zip").write_bytes(data)

    *whole, cut, rest = find_photos([str(tmp_path / "cut.tar.gz")], ALL, archives)
    assert [len(one.read()) for one in whole] == [20_000, 20_000]
    assert (cut.name, rest.name) == (f"{tmp_path}/cut.tar.gz/2.jpg", f"{tmp_path}/cut.tar.gz")
    assert "ended before the end-of-stream marker" in reason(cut)
    assert "archive is damaged" in reason(rest)
    [empty] = find_photos([str(tmp_path / "empty.zip")], ALL, archives)
    assert "archive is damaged: File is not a zip file" in reason(empty)
    [secret] = find_photos([str(tmp_path / "locked.zip")], ALL, archives)
    assert "is encrypted" in reason(secret)


def test_patterns_match_sorted_files(folder: Path, archives: ExitStack) -> None:
    assert contents(find_photos([f"{folder}/b/*.jpg"], ALL, archives), folder) == [
        ("b/1.jpg", b"three"),
        ("b/2.jpg", b"two"),
    ]
    assert [name for name, _ in contents(find_photos([f"{folder}/**"], ALL, archives), folder)] == FOUND
    assert [name for name, _ in contents(find_photos([f"{folder}/*"], ALL, archives), folder)] == FOUND


def test_standard_input_lists_paths_and_those_that_are_wrong_fail_alone(folder: Path, archives: ExitStack) -> None:
    os.mkfifo(folder / "pipe")
    lines = [f"{folder}/a.png\n", "\n", f"{folder}/gone.jpg\n", f"{folder}/b\r\n", f"{folder}/pipe"]
    photos = list(find_photos(["-"], ALL, archives, lines))
    assert [one.name.removeprefix(f"{folder}/") for one in photos] == [
        "a.png",
        "gone.jpg",
        "b/1.jpg",
        "b/2.jpg",
        "pipe",
    ]
    assert reason(photos[1]) == "there is no such file"
    assert reason(photos[4]) == "this is not a file"
    assert count_photos(["-"], ALL) is None


def test_arguments_that_name_nothing_are_refused_at_once(folder: Path) -> None:
    check_arguments([str(folder), f"{folder}/*.png", "-", "s3://bucket/folder"])
    with pytest.raises(TrainerError, match=r"there is no file or folder .*/nothing$"):
        check_arguments([f"{folder}/nothing"])
    with pytest.raises(TrainerError, match=r"no file matches .*/\*.tiff$"):
        check_arguments([f"{folder}/*.tiff"])


def test_shards_divide_the_photos_by_name_alone(tmp_path: Path, archives: ExitStack) -> None:
    for number in range(60):
        (tmp_path / f"{number}.jpg").touch()
    everything = [one.name for one in find_photos([str(tmp_path)], ALL, archives)]
    shards = [[one.name for one in find_photos([str(tmp_path)], Shard(k, 3), archives)] for k in (1, 2, 3)]
    assert sorted(itertools.chain(*shards)) == everything  # each is in exactly one
    assert all(8 <= len(shard) <= 32 for shard in shards)
    assert [count_photos([str(tmp_path)], Shard(k, 3)) for k in (1, 2, 3)] == [len(shard) for shard in shards]
    (tmp_path / "new.jpg").touch()
    again = [one.name for one in find_photos([str(tmp_path)], Shard(2, 3), archives)]
    assert set(shards[1]) <= set(again)


@pytest.fixture
def bucket(s3: AbstractFileSystem, folder: Path) -> str:
    """The photos in object storage."""
    s3.makedirs("many-photos", exist_ok=True)
    s3.put(f"{folder}/", "many-photos/new", recursive=True)
    with zipfile.ZipFile(folder / "all.zip", "w") as packed:
        packed.write(folder / "a.png", "a.png")
    s3.put(str(folder / "all.zip"), "many-photos/all.zip")
    return "s3://many-photos"


@pytest.mark.slow
def test_object_storage_is_a_folder_too(bucket: str, archives: ExitStack) -> None:
    assert contents(find_photos([f"{bucket}/new"], ALL, archives), f"{bucket}/new") == [
        (name, FILES[name]) for name in FOUND
    ]
    [one] = find_photos([f"{bucket}/new/b/2.jpg"], ALL, archives)
    assert one.read() == b"two"
    assert len(list(find_photos([f"{bucket}/new/b/*.jpg"], ALL, archives))) == 2
    [member] = find_photos([f"{bucket}/all.zip"], ALL, archives)
    assert (member.name, member.read()) == (f"{bucket}/all.zip/a.png", b"one")
    with pytest.raises(TrainerError, match="s3://many-photos/nothing cannot be read"):
        list(find_photos([f"{bucket}/nothing"], ALL, archives))

"""How clients and people send images, by right and by mistake."""

from __future__ import annotations

import base64
import json

import httpx
import pytest

from testing.photos import photo
from tests.gateway.http.forms import BATCH, BREED, form, posted

IMAGE_TEXT = base64.b64encode(photo("green")).decode()
MISTAKES: dict[str, tuple[bytes, str]] = {
    "base64": (IMAGE_TEXT.encode(), "This is base64 text, not the bytes of an image"),
    "a data URL": (f"data:image/png;base64,{IMAGE_TEXT}".encode(), "This is a data URL, not the bytes of an image"),
    "curl without @": (b"photo.jpg", "This is a file name, not the file: send its content (with curl: -F image=@photo"),
    "JSON": (b'{"image": "x"}', 'This is JSON, not an image: send the bytes of the image, or {"inputs"'),
    "a web page": (b"<!DOCTYPE html><html>", "This is a web page"),
    "a video": (b"\0\0\0\x20ftypisom" + bytes(20), "This is a video"),
    "a Live Photo": (b"\0\0\0\x14ftypqt  " + bytes(20), "such as the moving part of a Live Photo"),
    "a ZIP archive": (b"PK\x03\x04" + bytes(20), "This is a ZIP archive"),
    "a RAW file": (b"FUJIFILMCCD-RAW" + bytes(20), "RAW images are not accepted"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid", "This is a Git LFS pointer"),
    "SVG with a DOCTYPE": (b'<?xml version="1.0"?>\n<!DOCTYPE svg PUBLIC "x" "y">\n<svg/>', "SVG images are not"),
    "TGA": (bytes([0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 4, 0, 24, 0]) + bytes(48), "TGA images are not accepted"),
}


@pytest.mark.parametrize(
    ("disposition", "media_type"),
    [
        ("name=image; filename=dog.jpg; filename*=utf-8''dog.jpg", 'multipart/form-data; boundary="X"'),  # .NET
        ('name="file"; filename="dog.jpg" "', "multipart/form-data; charset=utf-8; boundary=X"),  # Retrofit
        ('name="file"; filename="dog.jpg"\r\nContent-Transfer-Encoding: binary', "Multipart/Form-Data; Boundary=X"),
    ],
)
def test_forms_as_clients_write_them_are_read(gateway: httpx.Client, disposition: str, media_type: str) -> None:
    body, _ = form((disposition, photo()))
    assert posted(gateway, BREED, (b"\r\n" + body, {"content-type": media_type})) == (200, "")


@pytest.mark.parametrize(
    ("change", "media_type", "words"),
    [
        ((b"", b""), "multipart/form-data", "has no boundary. Leave this header to your HTTP library"),
        ((b"", b""), "multipart/form-data; boundary=Y", "its boundary is not the one in its Content-Type"),
        ((b"\r\n", b"\n"), "multipart/form-data; boundary=X", "its lines do not end in CR and LF"),
    ],
)
def test_what_is_wrong_with_a_form_that_a_program_has_put_together_is_told(
    gateway: httpx.Client, change: tuple[bytes, bytes], media_type: str, words: str
) -> None:
    body, _ = form(('name="image"; filename="a.png"', photo(encoding="GIF")))
    answer = gateway.post(BREED, content=body.replace(*change), headers={"content-type": media_type})
    assert answer.status_code == 400
    assert words in answer.json()["detail"]


@pytest.mark.parametrize("name", ["image[]", "images[]", "images[0]", "images.0", "file[12]", "files"])
def test_names_as_php_axios_and_dropzone_write_them_are_taken(gateway: httpx.Client, name: str) -> None:
    part = (f'name="{name}"; filename="a.png"', photo())
    assert posted(gateway, BREED, form(part)) == (200, "")
    assert posted(gateway, BATCH, form(part, part)) == (200, "")
    assert posted(gateway, BREED, form(part, part)) == (400, "bad_request")


def test_a_part_with_an_empty_file_name_but_with_content_is_a_file(gateway: httpx.Client) -> None:
    part = ('name="image"; filename=""', photo("green"))
    assert posted(gateway, BREED, form(part)) == (200, "")
    sent = form(part, ('name="image"; filename=""', b""), part)
    results = gateway.post(BATCH, content=sent[0], headers=sent[1]).json()["results"]
    assert [(one["breed"], one["filename"]) for one in results] == [("green", None)] * 2


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("in_a_form", [True, False], ids=["form", "body"])
def test_what_people_send_by_mistake_is_named(gateway: httpx.Client, mistake: str, in_a_form: bool) -> None:
    content, words = MISTAKES[mistake]
    sent, headers = form(('name="image"', content)) if in_a_form else (content, {})
    answer = gateway.post(BREED, content=sent, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_image")
    assert words in answer.json()["detail"]


@pytest.mark.parametrize(
    "inputs",
    [IMAGE_TEXT, [IMAGE_TEXT], {"b64": IMAGE_TEXT}, [{"b64": IMAGE_TEXT}], f"data:image/png;base64,{IMAGE_TEXT}"],
)
@pytest.mark.parametrize("media_type", ["application/json", "application/json; charset=utf-8", ""])
def test_json_with_the_image_as_inputs_is_answered(gateway: httpx.Client, inputs: object, media_type: str) -> None:
    headers = {"content-type": media_type} if media_type else {}
    answer = gateway.post(BREED, content=json.dumps({"inputs": inputs}), headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["breed"] == "green"


@pytest.mark.parametrize("path", [BREED, "/hf/models/colours"])
@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ("photo.jpg", "This is a file name, not the file"),
        ("https://images.example/dog.jpg", "This is a URL, not an image"),
        ("undefined!", "This is text, not an image"),
        ("[object File]", "This is the name of a value in a program"),
    ],
)
def test_json_with_something_else_than_an_image_as_inputs_is_told_what_it_is(
    gateway: httpx.Client, path: str, inputs: str, words: str
) -> None:
    answer = gateway.post(path, json={"inputs": inputs})
    assert answer.status_code == 415
    assert words in answer.text


def test_json_with_a_byte_order_mark_and_the_media_type_of_s3_are_taken(gateway: httpx.Client) -> None:
    content = b"\xef\xbb\xbf" + json.dumps({"inputs": IMAGE_TEXT}).encode()
    assert gateway.post(BREED, content=content, headers={"content-type": "application/json"}).status_code == 200
    assert gateway.post(BREED, content=photo(), headers={"content-type": "binary/octet-stream"}).status_code == 200


@pytest.mark.parametrize("side", [1500, 1630, 1800])  # files of 7, 8 and 10 MB
def test_a_large_image_in_json_is_answered_too(gateway: httpx.Client, side: int) -> None:
    text = base64.b64encode(photo("green", (side, side), "BMP")).decode()
    answer = gateway.post(BREED, content=json.dumps({"inputs": text}))
    assert answer.status_code == 200, answer.text
    assert answer.json()["breed"] == "green"

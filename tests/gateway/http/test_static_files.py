"""How the page's files are sent: compressed, and kept by browsers as long as they may be."""

from __future__ import annotations

import gzip
import re

import brotli
import httpx
import pytest


def address(client: httpx.Client, name: str) -> str:
    """The address of a file as the page names it."""
    match = re.search(rf'"(/web/[0-9a-f]+/{re.escape(name)})"', client.get("/").text)
    assert match
    return match[1]


def test_the_page_names_its_files_by_content_and_browsers_keep_them(gateway: httpx.Client) -> None:
    hashed = gateway.get(address(gateway, "app.js"))
    assert "immutable" in hashed.headers["cache-control"]
    plain = gateway.get("/web/app.js")
    assert plain.headers["cache-control"] == "no-cache"
    assert plain.content == hashed.content


def test_a_browser_learns_of_all_modules_of_the_start_from_the_page_itself(gateway: httpx.Client) -> None:
    """Else it would ask for each only when it has read the one that imports it."""
    page = gateway.get("/").text
    named = set(re.findall(r'rel="modulepreload" href="/web/[0-9a-f]+/([\w-]+\.js)"', page))
    needed: set[str] = set()
    unread = {"app.js"}
    while unread:
        text = gateway.get(address(gateway, unread.pop())).text
        unread |= set(re.findall(r'^import\s[^;]*?"\./([\w-]+\.js)"', text, re.MULTILINE)) - needed
        needed |= unread
    assert named == needed


def test_an_address_of_another_release_is_not_found(gateway: httpx.Client) -> None:
    assert gateway.get("/web/000000000000/app.js").status_code == 404


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/web/app.js", "/docs/static/swagger-ui.css"])
@pytest.mark.parametrize("encoding", ["br", "gzip", "identity"])
def test_files_are_sent_as_the_browser_accepts_them(gateway: httpx.Client, path: str, encoding: str) -> None:
    request = gateway.build_request("GET", path, headers={"Accept-Encoding": encoding})
    answer = gateway.send(request, stream=True)
    raw = b"".join(answer.iter_raw())
    plain = gateway.get(path, headers={"Accept-Encoding": "identity"}).content
    decoded = {"br": brotli.decompress, "gzip": gzip.decompress, "identity": bytes}[encoding](raw)
    assert decoded == plain
    assert answer.headers.get("content-encoding", "identity") == encoding
    assert answer.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize("path", ["/", "/openapi.json", "/web/style.css"])
def test_a_file_that_did_not_change_is_not_sent_again(gateway: httpx.Client, path: str) -> None:
    first = gateway.get(path)
    again = gateway.get(path, headers={"If-None-Match": f"W/{first.headers['etag']}"})
    assert (again.status_code, again.content) == (304, b"")


def test_nothing_outside_of_the_folder_is_sent(gateway: httpx.Client) -> None:
    for path in ("/web/%2e%2e/app.py", "/web/", "/web/nothing.js", "/docs/static/redoc.standalone.js"):
        assert gateway.get(path).status_code == 404, path
    assert gateway.post("/web/app.js").status_code == 405

"""Pages for a browser: the web page and the documentation of the API."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response

from gateway.http.routes.review import review_of
from gateway.http.static_files import REVALIDATE, StaticFile, StaticFolder

WEB = Path(__file__).parents[2] / "web"
SWAGGER_UI = ("swagger-ui.css", "swagger-ui-bundle.js")

router = APIRouter(include_in_schema=False)


@router.head("/")
@router.get("/")
async def page(request: Request) -> Response:
    """The page on which people choose photos and see the results."""
    return await _page(request, "index.html")


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The documentation of the API, with Swagger UI."""
    return await _page(request, "docs.html")


@router.get("/review")
async def review(request: Request) -> Response:
    """The page on which people review kept photos."""
    review_of(request)  # raises where the review is off
    return await _page(request, "review.html")


@router.get("/favicon.ico")
async def favicon(request: Request) -> Response:
    """The icon, which browsers request even for a JSON answer."""
    return await _page(request, "icon.svg")


@router.get("/share-worker.js")
async def share_worker(request: Request) -> Response:
    """The page's service worker, which may act for the whole origin only from here."""
    return await _page(request, "share-worker.js")


@router.head("/openapi.json")
@router.get("/openapi.json")
async def description(request: Request) -> Response:
    """The OpenAPI description, built once and sent compressed."""
    app, pages = request.app, request.app.state.pages
    if "openapi.json" not in pages:
        content = json.dumps(app.openapi(), ensure_ascii=False, separators=(",", ":"))
        pages["openapi.json"] = StaticFile(content.encode(), "application/json")
    return await _page(request, "openapi.json")


async def _page(request: Request, name: str) -> Response:
    pages: dict[str, StaticFile] = request.app.state.pages
    return await pages[name].response(request.headers, REVALIDATE)


def mount_files(app: FastAPI) -> None:
    """Serve the files of the pages.

    The address of a file contains a digest of its folder. So browsers can cache files without expiry, and a page never
    mixes the modules of two releases.
    """
    web = StaticFolder(WEB)
    app.state.pages = {
        "index.html": web.page("index.html", "/web"),
        "docs.html": web.page("docs.html", "/web"),
        "review.html": web.page("review.html", "/web"),
        "icon.svg": web.files["icon.svg"],
        "share-worker.js": web.files["share-worker.js"],
    }
    app.mount("/docs/static", StaticFolder(Path(str(files("fastapi_offline"))) / "static", SWAGGER_UI))
    app.mount("/web", web)

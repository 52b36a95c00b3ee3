"""Pages for a browser: the web page and the documentation of the API."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.responses import Response

from gateway.http.routes.review import review_of
from gateway.http.static_files import REVALIDATE, StaticFile, StaticFolder

WEB = Path(__file__).parents[2] / "web"
SWAGGER_UI = ("swagger-ui.css", "swagger-ui-bundle.js")

router = APIRouter(include_in_schema=False)


def _page(name: str) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint of a page."""

    async def serve(request: Request) -> Response:
        pages: dict[str, StaticFile] = request.app.state.pages
        return await pages[name].response(request.headers, REVALIDATE)

    return serve


router.add_api_route("/", _page("index.html"), methods=["GET", "HEAD"])
router.add_api_route("/docs", _page("docs.html"))
router.add_api_route("/review", _page("review.html"), dependencies=[Depends(review_of)])
# Browsers request this icon even for a JSON answer.
router.add_api_route("/favicon.ico", _page("icon.svg"))
# Only from here may the page's service worker act for the whole origin.
router.add_api_route("/share-worker.js", _page("share-worker.js"))


@router.api_route("/openapi.json", methods=["GET", "HEAD"])
async def description(request: Request) -> Response:
    """The OpenAPI description, built once and sent compressed."""
    app, pages = request.app, request.app.state.pages
    if "openapi.json" not in pages:
        content = json.dumps(app.openapi(), ensure_ascii=False, separators=(",", ":"))
        pages["openapi.json"] = StaticFile(content.encode(), "application/json")
    return await _page("openapi.json")(request)


def mount_files(app: FastAPI) -> None:
    """Serve the files of the pages.

    The address of a file contains a digest of its folder. So browsers can cache files without expiry, and a page never
    mixes the modules of two releases.
    """
    web = StaticFolder(WEB)
    html = {name: web.page(name, "/web") for name in web.files if name.endswith(".html")}
    app.state.pages = web.files | html
    app.mount("/docs/static", StaticFolder(Path(str(files("fastapi_offline"))) / "static", SWAGGER_UI))
    app.mount("/web", web)

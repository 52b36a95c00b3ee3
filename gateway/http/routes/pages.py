"""What people open in a browser: the page and the API's documentation, all of it from this process."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response

from gateway.http.static_files import REVALIDATE, StaticFile, StaticFolder

WEB = Path(__file__).parents[2] / "web"
SWAGGER_UI = ("swagger-ui.css", "swagger-ui-bundle.js")

router = APIRouter(include_in_schema=False)


@router.head("/")
@router.get("/")
async def page(request: Request) -> Response:
    """The page where people pick photos and see what is in them."""
    return await _page(request, "index.html")


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The page for developers, with Swagger UI."""
    return await _page(request, "docs.html")


@router.get("/favicon.ico")
async def favicon(request: Request) -> Response:
    """What browsers ask for beside every other page, such as a JSON answer."""
    return await _page(request, "icon.svg")


@router.get("/share-worker.js")
async def share_worker(request: Request) -> Response:
    """The page's service worker, which may act for the whole origin only from here."""
    return await _page(request, "share-worker.js")


async def _page(request: Request, name: str) -> Response:
    pages: dict[str, StaticFile] = request.app.state.pages
    return await pages[name].response(request.headers, REVALIDATE)


def mount_files(app: FastAPI) -> None:
    """Serve the page's own files and those of the documentation page.

    A page names its files by the digest of their folder, so that a browser keeps them, and the modules of two releases
    never meet in one.
    """
    web = StaticFolder(WEB)
    app.state.pages = {
        "index.html": web.page("index.html", "/web"),
        "docs.html": web.page("docs.html", "/web"),
        "icon.svg": web.files["icon.svg"],
        "share-worker.js": web.files["share-worker.js"],
    }
    app.mount("/docs/static", StaticFolder(Path(str(files("fastapi_offline"))) / "static", SWAGGER_UI))
    app.mount("/web", web)

"""What people open in a browser: the page and the API's documentation, all of it from this process."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.staticfiles import StaticFiles

WEB = Path(__file__).parent.parent / "web"

router = APIRouter(include_in_schema=False)


@router.get("/")
async def page() -> Response:
    """The page where people pick photos and see breeds."""
    return FileResponse(WEB / "index.html")


@router.get("/docs")
async def docs() -> HTMLResponse:
    """Swagger UI."""
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Breed gateway: API",
        swagger_js_url="/docs/static/swagger-ui-bundle.js",
        swagger_css_url="/docs/static/swagger-ui.css",
        swagger_favicon_url="/docs/static/favicon.png",
    )


@router.get("/redoc")
async def redoc() -> HTMLResponse:
    """ReDoc."""
    return get_redoc_html(
        openapi_url="/openapi.json",
        title="Breed gateway: API",
        redoc_js_url="/docs/static/redoc.standalone.js",
        redoc_favicon_url="/docs/static/favicon.png",
        with_google_fonts=False,
    )


def mount_files(app: FastAPI) -> None:
    """Serve the page's own files and those of the documentation pages."""
    app.mount("/docs/static", StaticFiles(packages=[("fastapi_offline", "static")]))
    app.mount("/web", StaticFiles(directory=WEB))

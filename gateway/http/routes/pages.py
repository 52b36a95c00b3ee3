"""What people open in a browser: the page and the API's documentation, all of it from this process."""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

WEB = Path(__file__).parents[2] / "web"

NO_CACHE = {"Cache-Control": "no-cache"}
"""Ask again each time, and be told 304 by the ETag: the modules of two releases never meet in one browser."""

router = APIRouter(include_in_schema=False)


@router.head("/")
@router.get("/")
async def page() -> Response:
    """The page where people pick photos and see breeds."""
    return FileResponse(WEB / "index.html", headers=NO_CACHE)


@router.get("/docs")
async def docs() -> Response:
    """Swagger UI."""
    return FileResponse(WEB / "docs.html", headers=NO_CACHE)


@router.get("/favicon.ico")
async def favicon() -> Response:
    """What browsers ask for beside every other page, such as a JSON answer."""
    return FileResponse(WEB / "icon.svg", headers=NO_CACHE)


class Files(StaticFiles):
    """Static files that browsers ask for again, to be told that nothing changed."""

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """A file, or 304 where the browser has it."""
        answer = super().file_response(full_path, stat_result, scope, status_code)
        answer.headers.update(NO_CACHE)
        return answer


def mount_files(app: FastAPI) -> None:
    """Serve the page's own files and those of the documentation page."""
    app.mount("/docs/static", Files(packages=[("fastapi_offline", "static")]))
    app.mount("/web", Files(directory=WEB))

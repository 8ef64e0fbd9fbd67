"""Download missing model files into ComfyUI's models folder, for admins only.

``assets/js/model_downloads.js`` shows the progress in every ``data-downloads`` element of the page
and polls only while a download is active.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...errors import MissingModel, Problem, ValidationError
from ...models.download import ModelSources
from ...models.download_queue import DownloadState, ModelDownload
from ...models.publishers import choose_file, look_up
from ..auth.access import Access
from ..components.html import Html, duration, page_text, size
from ..components.templates import render
from ..components.workflow_report import missing_models
from ..http.handlers import PRIVATE, asked, body, guarded
from ..services import Services

__all__ = ["ModelDownloads", "place_for_downloads"]


class _DownloadRequest(BaseModel):
    """The preset or opened workflow that lacks files, and one of them; empty: all.

    Or the page of a model at its publisher, one of its files, and the folder for it.
    """

    model_config = ConfigDict(extra="forbid")

    form: Annotated[str, Field(max_length=200)] = ""
    address: Annotated[str, Field(max_length=1000)] = ""
    file: Annotated[str, Field(max_length=500)] = ""
    folder: Annotated[str, Field(max_length=64)] = ""


class _One(BaseModel):
    """A download by its id."""

    id: Annotated[str, Field(max_length=700)]


def place_for_downloads() -> Html:
    """Return the element that shows active downloads; empty as long as there are none."""
    return render("model_downloads.html", "place")


class ModelDownloads:
    """Answers the page's requests about model files."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access

    def routes(self) -> list[Route]:
        """The routes, for ``app_kwargs`` of Gradio's ``launch``."""
        return [
            Route("/downloads", guarded(self._look)),
            Route("/downloads/start", guarded(self._start, writes=True), methods=["POST"]),
            Route("/downloads/stop", guarded(self._stop, writes=True), methods=["POST"]),
            Route("/downloads/pause", guarded(self._pause, writes=True), methods=["POST"]),
            Route("/downloads/resume", guarded(self._resume, writes=True), methods=["POST"]),
        ]

    async def _look(self, request: Request) -> Response:
        self._access.require("get_models", request)
        return self._answer()

    async def _start(self, request: Request) -> Response:
        self._access.require("get_models", request)
        which = asked(_DownloadRequest, await body(request))
        folders = self._services.connection.model_folders
        if which.address:
            published = await look_up(which.address, ModelSources.of(self._services.settings))
            chosen = choose_file(published, which.file, which.folder or None)
            self._services.downloads.start([chosen], folders)
            return self._answer()
        # URLs come from what this page's server knows, never from the request.
        lacking = missing_models(self._problems(which.form))
        if which.file:
            models: Iterable[MissingModel] = [m for m in lacking if m.filename == which.file]
        else:
            models = [m for m in lacking if folders.takes(m)]
        if not models:
            raise ValidationError("Nothing is missing anymore.", hint="Open it again.")
        self._services.downloads.start(models, folders)
        return self._answer()

    async def _stop(self, request: Request) -> Response:
        self._access.require("get_models", request)
        self._services.downloads.cancel(asked(_One, await body(request)).id)
        return self._answer()

    async def _pause(self, request: Request) -> Response:
        self._access.require("get_models", request)
        self._services.downloads.pause(asked(_One, await body(request)).id)
        return self._answer()

    async def _resume(self, request: Request) -> Response:
        self._access.require("get_models", request)
        self._services.downloads.resume(asked(_One, await body(request)).id)
        return self._answer()

    def _problems(self, form: str) -> Iterable[Problem]:
        opened = self._services.open_workflows.find(form)
        if opened is not None:
            return opened.problems
        entry = self._services.catalog.entry(form)
        return entry.problems or () if entry.preset.id == form else ()

    def _answer(self) -> Response:
        downloads = self._services.downloads
        payload = {
            "html": panel(downloads.listed),
            "active": downloads.active,
            "done": sum(d.state is DownloadState.DONE for d in downloads.listed),
        }
        return JSONResponse(payload, headers=PRIVATE)


def panel(downloads: Iterable[ModelDownload]) -> Html:
    """The downloads since the app started, the newest last; empty if there are none."""
    rows = [
        {
            "id": download.id,
            "state": str(download.state),
            "active": download.state.active,
            "stoppable": download.state.active or download.state is DownloadState.PAUSED,
            "resumable": not download.state.active and download.state is not DownloadState.DONE,
            "filename": download.model.filename,
            "filename_shown": page_text(download.model.filename, limit=120),
            "facts": _facts(download),
            "percent": 100 * (download.share or 0),
            "error": download.error
            and {
                "message": page_text(download.error.message),
                "hint": page_text(download.error.hint),
            },
        }
        for download in downloads
    ]
    return render("model_downloads.html", "panel", downloads=rows) if rows else Html("")


def _facts(download: ModelDownload) -> str:
    here = size(download.received_bytes) if download.received_bytes else "nothing yet"
    amount = f"{here} of {size(download.total_bytes)}" if download.total_bytes else here
    match download.state:
        case DownloadState.WAITING:
            return "waiting for the previous download"
        case DownloadState.RUNNING:
            speed = f"{size(download.bytes_per_s)}/s" if download.bytes_per_s else ""
            remaining = f"{duration(download.eta_s)} left" if download.eta_s is not None else ""
            return ", ".join(filter(None, (amount, speed, remaining)))
        case DownloadState.DONE:
            return f"{here}, found in models/{download.model.folder}"
        case DownloadState.CANCELLED:
            return f"stopped at {amount}"
        case DownloadState.PAUSED:
            return f"paused at {amount}"
        case DownloadState.FAILED:
            return f"failed at {amount}"

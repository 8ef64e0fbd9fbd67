"""The bar below the prompt: token count, prompt history and styles; and style files."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from .....errors import StorageError, ValidationError
from .....prompts import load_styles, read_styles
from .....prompts.language_models.sources import find_source
from .....prompts.model_families import find_family
from .....prompts.styles import MAX_FILE_BYTES, STYLE_FILES, shipped_styles, style_picture
from ....auth.access import Access
from ....components.html import Html
from ....components.templates import render
from ....http.handlers import PRIVATE, body, guarded
from ....preset_catalog import PresetCatalog
from ....services import Services

__all__ = ["PromptTools", "words_bar"]

_PICTURES_KEPT: Final = {"Cache-Control": "private, max-age=86400"}


class PromptTools:
    """Renders the bar, and reads and stores style files."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access

    @property
    def _folder(self) -> Path:
        return self._services.settings.data_dir / "styles"

    async def bar(self, request: Request) -> Html:
        """Render the bar below the prompt."""
        self._access.require("see", request)
        sees = (
            self._access.allows("enhance", request)
            and await find_source(
                None,
                servers=self._services.catalog.servers,
                seeing=True,
                settings=self._services.settings,
            )
            is not None
        )
        return words_bar(self._services.catalog, sees=sees)

    def routes(self) -> list[Route]:
        """Return the routes, for ``app_kwargs`` of Gradio's ``launch``."""
        return [
            Route("/styles", guarded(self._list)),
            Route("/styles", guarded(self._take, writes=True), methods=["POST"]),
            Route("/styles/{name}", guarded(self._picture)),
        ]

    async def _list(self, request: Request) -> Response:
        self._access.require("see", request)
        loaded = await asyncio.to_thread(load_styles, self._folder)
        trusted = self._access.allows("open_workflow", request)
        payload = {
            "styles": [_told(style) for style in loaded.styles.values()],
            "takes": trusted,
            "problems": [problem.message for problem in loaded.problems] if trusted else [],
        }
        return JSONResponse(payload, headers=PRIVATE)

    async def _take(self, request: Request) -> Response:
        """Store a style file for all users. Only readable styles are kept."""
        # As with workflows, only admins add files for all users.
        self._access.require("open_workflow", request)
        name = request.query_params.get("name", "")
        content = await body(request, MAX_FILE_BYTES)
        styles = await asyncio.to_thread(read_styles, content, name)
        await asyncio.to_thread(_keep, self._folder, name, content)
        return JSONResponse({"names": [style.name for style in styles]}, headers=PRIVATE)

    async def _picture(self, request: Request) -> Response:
        self._access.require("see", request)
        name = request.path_params["name"]
        path = style_picture(name) if name in shipped_styles() else None
        if path is None or not path.is_file():
            return PlainTextResponse("There is no such image.", status_code=404)
        return FileResponse(path, headers=_PICTURES_KEPT)


def _told(style: Any) -> dict[str, Any]:
    before, after = style.around
    drawn = shipped_styles().get(style.name) == style
    return {
        "name": style.name,
        "before": before,
        "after": after,
        "negative": style.negative,
        "picture": drawn,
    }


def _keep(folder: Path, name: str, content: bytes) -> None:
    """Write the file under its name, or a free one if another file has this name."""
    suffix = Path(name).suffix.lower()
    if suffix not in STYLE_FILES:
        raise ValidationError(f"Styles come as {', '.join(STYLE_FILES)}.")
    stem = re.sub(r"[^\w\- ]+", "_", Path(name).stem).strip()[:80] or "styles"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(1, 100):
            path = folder / f"{stem}{'' if number == 1 else f'-{number}'}{suffix}"
            if not path.exists():
                half = path.with_suffix(".part")
                half.write_bytes(content)
                half.replace(path)
                return
            if path.read_bytes() == content:
                return
    except OSError as error:
        raise StorageError(f"The styles cannot be written: {error.strerror}.") from error
    raise ValidationError(f"There are 99 files named {stem} already.", hint="Rename this one.")


def words_bar(catalog: PresetCatalog, *, sees: bool = False) -> Html:
    """Render the token count (the browser counts), styles, and the prompt history.

    ``sees``: a model that describes images is available.
    """
    limits = {
        entry.preset.id: find_family(entry.preset.family).encoders for entry in catalog.entries
    }
    return render(
        "create_tab.html",
        "prompt_bar",
        token_limits=json.dumps(limits),
        can_describe=sees,
    )

"""Completion of prompts while typing: tags, styles, LoRAs, embeddings and wildcards.

The lists stay on the server: one of 100,000 tags has 3 MB, which a phone would have to load and
index before its first suggestion. A search takes about a millisecond here, in a thread.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .....errors import ComfyHeadlessError
from .....prompts import load_styles
from .....prompts.tag_index import Tag, TagIndex, read_tags
from .....protocol.object_info import NodeRegistry
from .....workflow.model_files import basename, listed_models
from .....workflow.wildcards import WildcardFolder
from ....auth.access import Access
from ....http.handlers import PRIVATE, guarded
from ....services import Services

__all__ = ["Completion"]

T = TypeVar("T")

_MAX_TEXT: Final = 120
_MAX_ITEMS: Final = 12
_MAX_OTHERS: Final = 4  # of each kind beside tags
_MIN_OTHERS: Final = 3  # characters: names are found later than tags, as they are seldom meant
_MAX_TAG_WORDS: Final = 4
_SERVER_S: Final = 2.0


class Completion:
    """Answers the page's searches."""

    def __init__(
        self,
        services: Services,
        access: Access,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._services = services
        self._access = access
        self._listed: tuple[NodeRegistry, list[str]] | None = None
        self._tags = _TagFiles(services.settings.tags_dir, now)
        self._styles = _TimedCache(self._style_names, 10, now)
        self._wildcards = _TimedCache(self._wildcard_names, 10, now)
        self._embeddings = _TimedCache(self._embedding_names, 60, now)

    def routes(self) -> list[Route]:
        """Return the routes, for ``app_kwargs`` of Gradio's ``launch``."""
        return [Route("/completions", guarded(self._complete))]

    async def _complete(self, request: Request) -> Response:
        """Respond with suggestions, and how many characters of the text each replaces.

        ``text`` is what stands before the cursor, ``kind`` its syntax: ``wildcard``, ``lora``,
        ``embedding``, or nothing for plain words, which all but wildcards can complete.
        """
        self._access.require("see", request)
        text = request.query_params.get("text", "")[-_MAX_TEXT:]
        kind = request.query_params.get("kind", "")
        if kind == "wildcard":
            items = _of_kind(kind, await self._wildcards.get(), text)
        elif kind == "lora":
            items = _of_kind(kind, self._loras(), text)
        elif kind == "embedding":
            items = _of_kind(kind, await self._embeddings.get(), text)
        else:
            return JSONResponse(await self._plain(text), headers=PRIVATE)
        payload = {"items": list(islice(items, _MAX_ITEMS)), "length": len(text)}
        return JSONResponse(payload, headers=PRIVATE)

    async def _plain(self, text: str) -> dict[str, Any]:
        """Complete the last words of ``text``: as many of them as begin something."""
        index = await self._tags.get()
        others = {
            "style": await self._styles.get(),
            "lora": self._loras(),
            "embedding": await self._embeddings.get(),
        }
        return await asyncio.to_thread(_search, text, index, others)

    def _loras(self) -> list[str]:
        library = self._services.catalog.library
        if library is None:
            return []
        if self._listed is None or self._listed[0] is not library:
            self._listed = library, _short_names(listed_models(library).get("loras", ()))
        return self._listed[1]

    async def _style_names(self) -> list[str]:
        styles = await asyncio.to_thread(load_styles, self._services.settings.data_dir / "styles")
        return [*styles.styles]

    async def _wildcard_names(self) -> list[str]:
        folder = WildcardFolder(self._services.settings.wildcards_dir)
        return await asyncio.to_thread(lambda: [*folder])

    async def _embedding_names(self) -> list[str]:
        try:
            async with asyncio.timeout(_SERVER_S):
                return await self._services.client.embeddings()
        except (ComfyHeadlessError, TimeoutError):
            return []  # asked again after the cache's time


class _TimedCache(Generic[T]):
    """A value that is loaded again when it is older than ``seconds`` and asked for."""

    def __init__(
        self, load: Callable[[], Awaitable[T]], seconds: float, now: Callable[[], float]
    ) -> None:
        self._load = load
        self._seconds = seconds
        self._now = now
        self._lock = asyncio.Lock()
        self._value: tuple[T, float] | None = None

    async def get(self) -> T:
        async with self._lock:
            if self._value is None or self._now() >= self._value[1]:
                value = await self._load()
                self._value = value, self._now() + self._seconds
            return self._value[0]


class _TagFiles:
    """The index of the lists in a folder, built again when they change."""

    def __init__(self, folder: Path, now: Callable[[], float]) -> None:
        self._folder = folder
        self._stamps: object = ()
        self._index = TagIndex()
        self._checked = _TimedCache(self._load, 5, now)

    async def get(self) -> TagIndex:
        return await self._checked.get()

    async def _load(self) -> TagIndex:
        stamps = await asyncio.to_thread(self._stamp)
        if stamps != self._stamps:
            self._index = await asyncio.to_thread(lambda: TagIndex(read_tags(self._folder)))
            self._stamps = stamps
        return self._index

    def _stamp(self) -> object:
        stats = ((path.name, path.stat()) for path in sorted(self._folder.glob("*.csv")))
        try:
            return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)
        except OSError:  # a file went away; looked at again with the next search
            return None


def _search(text: str, index: TagIndex, others: dict[str, list[str]]) -> dict[str, Any]:
    for start in _beginnings(text):
        tags = [_tag_item(tag) for tag in index.search(start, limit=_MAX_ITEMS)]
        named = [
            item
            for kind, names in others.items()
            for item in islice(_of_kind(kind, names, start), _MAX_OTHERS)
            if len(start) >= _MIN_OTHERS
        ]
        if tags or named:
            places = max(_MAX_ITEMS - len(named), _MAX_ITEMS // 2)
            return {"items": [*tags[:places], *named][:_MAX_ITEMS], "length": len(start)}
    return {"items": [], "length": 0}


def _beginnings(text: str) -> Iterator[str]:
    """Yield the last four words of a text, the last three, and so on."""
    words = text.lstrip().split(" ")
    for number in range(min(len(words), _MAX_TAG_WORDS), 0, -1):
        if start := " ".join(words[-number:]):
            yield start


def _tag_item(tag: Tag) -> dict[str, Any]:
    return {
        "kind": "tag",
        "label": tag.name.replace("_", " ") if tag.words != tag.name else tag.name,
        "text": tag.words,
        "category": tag.category,
        "uses": tag.uses,
    }


def _of_kind(kind: str, names: Iterable[str], start: str) -> Iterator[dict[str, Any]]:
    """Yield the names that begin with ``start``, then those with a word that does."""
    start = start.casefold()
    later = []
    for name in names:
        folded = name.casefold()
        if folded.startswith(start):
            yield _item(kind, name)
        elif any(sign + start in folded for sign in " _-/\\"):
            later.append(name)
    for name in later:
        yield _item(kind, name)


def _item(kind: str, name: str) -> dict[str, Any]:
    texts = {
        "wildcard": f"__{name}__",
        "lora": f"<lora:{name}:1>",
        "embedding": f"embedding:{name}",
    }
    return {"kind": kind, "label": name, "text": texts.get(kind, name)}


def _short_names(files: Iterable[str]) -> list[str]:
    """Return the names of model files without ending, and without folder where that is clear."""
    paths = [file.rsplit(".", 1)[0] for file in files]
    uses = Counter(map(basename, paths))
    return [stem if uses[stem := basename(path)] == 1 else path for path in paths]

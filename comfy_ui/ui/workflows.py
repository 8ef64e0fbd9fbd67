"""The Workflows tab: any workflow, what it needs, and its form."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import gradio as gr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..client import Template
from ..errors import ComfyHeadlessError, Problem, ValidationError
from ..studio import JobError
from ..workflow.presets import Preset, preset_problems
from ..workflow.roles import FILE_ROLES
from .access import Access
from .backend import Backend
from .catalog import Entry
from .create import Create
from .desk import Opened, title_of
from .html import Html, el, icon, join, page_text
from .island import island, sent
from .needs import missing_models, needs
from .picker import KIND_ICONS, KINDS
from .uploads import MAX_UPLOAD_BYTES
from .web import PRIVATE, body, guarded

__all__ = ["Workflows"]

_FOLDER: Final = "workflows"  # of the user's folder in ComfyUI, where its editor saves
_FILES: Final = ".json,.png,.webp,.jpg,.jpeg,.avif,.mp4,.mov,.webm,.mkv,.flac,.mp3,.opus,.ogg"


@dataclass(frozen=True, slots=True)
class _Source:
    """A workflow that can be picked: ``where`` and ``name`` say how to get it."""

    where: str
    name: str
    title: str
    about: str = ""
    kind: str = ""


class Workflows:
    """Builds the tab inside a ``gr.Blocks`` and answers its events. For the owner alone."""

    def __init__(self, backend: Backend, access: Access) -> None:
        self._backend = backend
        self._access = access
        self._desk = backend.desk

    def build(self, page: Any, tab: Any, tabs: Any, create: Create) -> None:
        """Make the components in ``tab``, one of ``tabs``; ``create`` shows the forms."""
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        with gr.Row(elem_id="workflows"):
            with gr.Column(elem_id="sources-side"):
                island(_entrance(), elem_id="entrance")
                sources = island(elem_id="sources", sends=["pick", "show"])
            with gr.Column(elem_id="opened-side"):
                opened = island(_nothing(), elem_id="opened", sends=["use", "save"])
        page.load(self._for_owners, outputs=[tab], **quiet)
        seen = gr.State("")  # what the page shows: a list that is the same is not drawn again
        tab.select(self._list, inputs=[seen], outputs=[sources, seen], **quiet)
        sources.pick(self._pick, outputs=[opened], **quiet)
        sources.show(self._show, outputs=[opened], **quiet)
        opened.save(self._save, outputs=[opened, sources], **quiet)
        opened.use(self._use, outputs=[tabs, *create.shown], **quiet)
        self._create = create

    def routes(self) -> list[Route]:
        """The route that takes a file, for ``app_kwargs`` of Gradio's ``launch``."""
        return [Route("/workflows", guarded(self._receive, writes=True), methods=["POST"])]

    async def _receive(self, request: Request) -> Response:
        self._access.require("open_workflow", request)
        content = await body(request, MAX_UPLOAD_BYTES)
        name = request.query_params.get("name", "")
        opened = await self._desk.open(content, title=title_of(name))
        return JSONResponse({"id": opened.id}, headers=PRIVATE)

    # What follows answers events. Each handler asks self._access whose request it is.

    def _for_owners(self, request: gr.Request) -> Any:
        """A visitor does not see the tab; the handlers refuse them besides."""
        return gr.update(visible=self._access.allows("open_workflow", request))

    async def _list(self, seen: str, request: gr.Request) -> tuple[Any, str]:
        self._access.require("open_workflow", request)
        listed = await self._sources()
        digest = hashlib.sha256(listed.encode()).hexdigest()
        return gr.skip() if digest == seen else listed, digest

    async def _pick(self, event: gr.EventData, request: gr.Request) -> Html:
        data = sent(event)
        try:
            self._access.require("open_workflow", request)
            where, name = str(data.get("where", "")), str(data.get("name", ""))
            if where == "preset":
                return self._preset_report(name)
            content = await self._fetch(where, name)
            title = str(data.get("title") or name)
            return self._opened_report(await self._desk.open(content, title=title))
        except ComfyHeadlessError as error:
            return _trouble(error)

    async def _show(self, event: gr.EventData, request: gr.Request) -> Html:
        """A file was sent to the route, which has opened it."""
        self._access.require("open_workflow", request)
        opened = self._desk.find(str(sent(event).get("id", "")))
        return _nothing() if opened is None else self._opened_report(opened)

    async def _use(self, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        data = sent(event)
        name, variant = str(data.get("id", "")), data.get("variant")
        try:
            self._access.require("open_workflow", request)
            await self._desk.keep(name)
        except ComfyHeadlessError as error:
            return gr.skip(), *self._create.told(error)
        values = {"variant": str(variant)} if variant else {}
        return gr.update(selected="create"), *self._create.show(name, values)

    async def _save(self, event: gr.EventData, request: gr.Request) -> tuple[Html, Any]:
        data = sent(event)
        opened = self._desk.find(str(data.get("id", "")))
        try:
            self._access.require("open_workflow", request)
            if opened is None or opened.preset is None:
                raise ValidationError("Open the workflow again first.")
            title = str(data.get("text") or opened.title)
            saved = await asyncio.to_thread(self._backend.presets.save, opened.preset, title)
        except ComfyHeadlessError as error:
            report = self._opened_report(opened) if opened else _nothing()
            return join(_trouble(error), report), gr.skip()
        await self._backend.catalog.look()
        return self._preset_report(saved.id, fresh=True), await self._sources()

    # Inside

    async def _fetch(self, where: str, name: str) -> bytes:
        client = self._backend.client
        match where:
            case "saved":
                return await client.read_userdata(f"{_FOLDER}/{name}")
            case "template":
                return json.dumps(await client.official_template(name)).encode()
            case "pack":
                pack, _, template = name.partition("/")
                return json.dumps(await client.template(pack, template)).encode()
        raise ValidationError("There is no such workflow.")

    async def _sources(self) -> Html:
        await self._backend.catalog.look()
        catalog, client = self._backend.catalog, self._backend.client
        saved, official, packs = await asyncio.gather(
            _asked(client.userdata, _FOLDER), _asked(self._desk.templates), _asked(client.templates)
        )
        own = [e for e in catalog.entries if not e.opened and self._is_own(e.preset)]
        shipped = [e for e in catalog.entries if not e.opened and not self._is_own(e.preset)]
        listed: list[Template] = official or []
        return el(
            "section",
            el("h2", "Or pick one"),
            el(
                "input",
                type="search",
                class_="filter",
                placeholder="Find a workflow",
                aria_label="Find a workflow",
                data_filter=".source",
            ),
            _group("Opened lately", [_of_entry(e) for e in catalog.entries if e.opened], open=True),
            _group("Saved as presets", [_of_entry(entry) for entry in own], open=True),
            _group(
                "Saved in ComfyUI",
                [
                    _Source("saved", f.path, f.path.removesuffix(".json"))
                    for f in sorted(saved or [], key=lambda f: -(f.modified_at or 0))
                    if f.path.endswith(".json") and not f.path.startswith(".")
                ],
                open=True,
            ),
            _group("Official templates", [_of_template(t) for t in listed if not t.paid]),
            _group("Templates of paid services", [_of_template(t) for t in listed if t.paid]),
            _group(
                "Templates of node packs",
                [
                    _Source("pack", f"{pack}/{name}", name, pack)
                    for pack, names in (packs or {}).items()
                    for name in names
                ],
            ),
            _group("Shipped presets", [_of_entry(entry) for entry in shipped]),
            _broken(catalog.broken),
            el("p", "ComfyUI does not answer: what it has is not listed.", class_="trouble")
            if saved is None and official is None
            else None,
            class_="panel sources",
        )

    def _opened_report(self, opened: Opened) -> Html:
        return _report(opened, runs=self._backend.keeps_opened)

    def _is_own(self, preset: Preset) -> bool:
        return (self._backend.presets.presets / f"{preset.id}.toml").exists()

    def _preset_report(self, name: str, *, fresh: bool = False) -> Html:
        catalog = self._backend.catalog
        entry = catalog.entry(name)
        if entry.preset.id != name:
            raise ValidationError("There is no such preset any more.")
        working = []
        if entry.errors and catalog.library is not None:
            working = [
                key
                for key in entry.preset.variants
                if not preset_problems(entry.preset, catalog.library, variant=key)
            ]
        return _report(
            Opened(name, entry.preset.title, entry.preset, entry.problems or ()),
            kept=not entry.opened,
            fresh=fresh,
            working=working,
        )


async def _asked(question: Callable[..., Awaitable[Any]], *about: str) -> Any:
    """The server's answer; None when it has none: the other sources are there all the same."""
    try:
        return await question(*about)
    except ComfyHeadlessError:
        return None


def _of_entry(entry: Entry) -> _Source:
    preset = entry.preset
    return _Source("preset", preset.id, preset.title, entry.lack, preset.kind)


def _of_template(template: Template) -> _Source:
    kind = template.kind if template.kind in KINDS else ""
    return _Source("template", template.name, template.title, template.category, kind)


def _entrance() -> Html:
    return el(
        "section",
        el("h2", "Open a workflow"),
        el(
            "label",
            icon("input", class_="icon hero"),
            el("strong", "Drop a file here, or choose one"),
            el(
                "span",
                "ComfyUI's JSON in either format, or a picture, video or sound that carries it",
                class_="quiet",
            ),
            for_="workflow-file",
            class_="dropzone",
        ),
        el(
            "input",
            type="file",
            id="workflow-file",
            accept=_FILES,
            class_="sr",
            data_open_workflow=True,
        ),
        el(
            "details",
            el("summary", "Paste it instead"),
            el(
                "textarea",
                id="workflow-text",
                rows="5",
                aria_label="The workflow as JSON",
                placeholder='{"nodes": …}',
                spellcheck="false",
            ),
            el("button", "Open", type="button", class_="act strong", data_do="open-pasted"),
            class_="paste",
        ),
        el("p", class_="trouble", role="alert", id="workflow-trouble"),
        class_="panel entrance",
    )


def _nothing() -> Html:
    return el(
        "section",
        el(
            "div",
            icon("flow", class_="icon hero"),
            el("h2", "Any workflow becomes a form"),
            el(
                "p",
                "Open or pick one. You see what it needs and whether your ComfyUI has it; then "
                "you fill in the form under Create.",
                class_="quiet",
            ),
            class_="message",
        ),
        class_="panel opened",
    )


def _group(title: str, sources: Sequence[_Source], *, open: bool = False) -> Html | None:  # noqa: A002
    if not sources:
        return None
    return el(
        "details",
        el(
            "summary",
            el("span", title),
            el("span", len(sources), class_="count"),
            icon("arrow"),
        ),
        el("div", [_button(source) for source in sources], class_="source-list"),
        open=open,
        class_="source-group",
        data_group=title,
    )


def _button(source: _Source) -> Html:
    return el(
        "button",
        icon(KIND_ICONS.get(source.kind, "flow")),
        el("span", page_text(source.title, limit=90)),
        el("span", page_text(source.about, limit=40), class_="quiet") if source.about else None,
        type="button",
        class_="source",
        data_send="pick",
        data_where=source.where,
        data_name=source.name,
        data_title=source.title,
        data_find=f"{source.title} {source.about} {source.name}".lower(),
    )


def _broken(problems: Iterable[Problem]) -> list[Html]:
    return [
        el("p", icon("alert"), problem.message, " ", problem.hint, class_="need error")
        for problem in problems
    ]


def _report(
    opened: Opened,
    *,
    kept: bool = False,
    runs: bool = True,
    fresh: bool = False,
    working: Sequence[str] = (),
) -> Html:
    """What a workflow makes, asks for and lacks, and what can be done with it.

    ``kept``: it is a preset; ``fresh``: since just now. ``runs``: its form can be opened as it is.
    ``working`` are the variants that would run although the preset itself does not.
    """
    preset = opened.preset
    return el(
        "section",
        el("header", el("h2", page_text(opened.title, limit=120)), _state(opened)),
        el("p", preset.description, class_="quiet") if preset and preset.description else None,
        el("dl", _facts(preset)) if preset else None,
        needs(opened.problems),
        _working(opened, working),
        _acts(opened, kept=kept) if preset and runs else None,
        _saving(opened) if preset and not kept else None,
        _kept(opened) if fresh else None,
        class_="panel opened",
        data_opened=opened.id,
    )


def _state(opened: Opened) -> Html:
    if not opened.errors:
        return el("span", el("i", class_="lamp good"), "Ready", class_="state")
    files = len(missing_models(opened.errors))
    nodes = len({p.class_type for p in opened.errors if p.kind == "missing_node"})
    lacks = [
        f"{count} {what}{'s' * (count > 1)} missing"
        for count, what in ((nodes, "node"), (files, "model"))
        if count
    ]
    return el(
        "span", el("i", class_="lamp bad"), ", ".join(lacks) or "Cannot run here", class_="state"
    )


def _facts(preset: Preset) -> list[Html]:
    given = [p.label for p in preset.params if p.role == "prompt"]
    given += [p.label for p in preset.params if p.role in FILE_ROLES and not p.optional]
    main = sum(not p.advanced for p in preset.params)
    more = len(preset.params) - main
    makes = dict.fromkeys(KINDS[output.kind] for output in preset.outputs)
    facts = {
        "Makes": ", ".join(makes),
        "You give": page_text(", ".join(given), limit=200) or "nothing: it can run as it is",
        "Form": f"{main} field{'s' * (main != 1)}"
        + (f" and {more} under Advanced" if more else ""),
    }
    return [el("div", el("dt", name), el("dd", told)) for name, told in facts.items()]


def _working(opened: Opened, variants: Sequence[str]) -> Html | None:
    """The variants that would work now, where the preset itself does not."""
    if not variants or opened.preset is None:
        return None
    titles = {key: opened.preset.variants[key].title for key in variants}
    return el(
        "div",
        icon("check"),
        el("p", "This works now:"),
        [_use(opened.id, title, variant=key, class_="act strong") for key, title in titles.items()],
        class_="need works",
    )


def _acts(opened: Opened, *, kept: bool) -> Html:
    return el(
        "div",
        _use(opened.id, "Open the form", class_="act primary"),
        el(
            "button",
            icon("copy"),
            "Copy its link",
            type="button",
            class_="act",
            data_do="copy-link",
            data_preset=opened.id,
            title="An address that opens this form",
        )
        if kept
        else None,
        class_="acts",
    )


def _use(name: str, label: str, *, class_: str, variant: str | None = None) -> Html:
    return el(
        "button",
        icon("spark"),
        label,
        type="button",
        class_=class_,
        data_do="use-workflow",
        data_id=name,
        data_variant=variant,
    )


def _saving(opened: Opened) -> Html:
    return el(
        "div",
        el("label", "Keep it for everybody who uses this page", for_="preset-title"),
        el(
            "div",
            el(
                "input",
                type="text",
                id="preset-title",
                value=opened.title,
                maxlength="80",
                autocomplete="off",
            ),
            el(
                "button",
                icon("save"),
                "Save as preset",
                type="button",
                class_="act",
                data_do="save-preset",
                data_id=opened.id,
            ),
            class_="row",
        ),
        class_="saving field",
    )


def _kept(opened: Opened) -> Html:
    return el(
        "div",
        icon("check"),
        el("p", f"Saved. It stands among the presets as '{opened.title}'."),
        class_="notice good",
        role="status",
    )


def _trouble(error: ComfyHeadlessError) -> Html:
    told = JobError.of(error)
    return el(
        "section",
        el(
            "div",
            icon("alert", class_="icon hero"),
            el("h2", page_text(told.message)),
            el("p", page_text(told.hint), class_="hint") if told.hint else None,
            class_="message",
            role="alert",
        ),
        class_="panel opened failed",
    )

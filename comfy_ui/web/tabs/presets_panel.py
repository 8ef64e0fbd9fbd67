"""The presets on the Status tab: which can run, what the others lack, and which suit the GPU."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Final

from ...models.inventory import fitting_presets
from ...models.model_folders import ModelFolders
from ...storage.records import ServerStatus
from ...workflow.fields.field_types import FILE_ROLES
from ..components.html import Html, page_text, size
from ..components.preset_picker import KINDS, Lamp, readiness
from ..components.templates import render
from ..components.workflow_report import DownloadableFile, missing_models, needs
from ..preset_catalog import CatalogEntry, grouped

__all__ = ["gpu_memory_bytes", "presets_panel", "suggestions"]

_SUGGESTED_KINDS: Final = ("image", "video", "audio")


def gpu_memory_bytes(servers: Iterable[ServerStatus]) -> int:
    """Return the memory of the largest GPU of the servers, or 0 if none has a GPU."""
    devices = (device for server in servers for device in server.devices)
    sizes = (int(d.get("vram_total") or 0) for d in devices if d.get("type") != "cpu")
    return max(sizes, default=0)


def presets_panel(
    entries: Iterable[CatalogEntry],
    folders: ModelFolders | None = None,
    *,
    online: bool = True,
    vram_bytes: int = 0,
    packs: Container[str] = (),
) -> Html:
    """Show what presets lack; the complete ones are behind a line for each state.

    ``folders`` are the folders for missing files. ``online``: a server answers. ``vram_bytes``:
    suggest presets that fit into that much GPU memory. ``packs``: node packs that can be added.
    """
    listed = list(entries)
    ready = sum(entry.ready is True for entry in listed)
    suited = suggestions(listed, vram_bytes, folders) if folders and vram_bytes else []
    return render(
        "status_tab.html",
        "presets_panel",
        summary=f"{ready} of {len(listed)} ready",
        memory=f"{vram_bytes / 2**30:.0f} GB",  # as cards are sold
        suggestions=[_suggestion(entry) for entry in suited],
        lacking=[
            (
                entry.preset.title,
                readiness(entry, online=online),
                needs(
                    entry.errors,
                    DownloadableFile(entry.preset.id, folders) if folders else None,
                    packs=packs,
                ),
            )
            for entry in listed
            if entry.errors
        ],
        complete=_by_readiness(listed, online=online),
    )


def suggestions(
    entries: Sequence[CatalogEntry], vram_bytes: int, folders: ModelFolders
) -> list[CatalogEntry]:
    """Return presets that fit the GPU, work from a prompt and lack only files with free downloads.

    For images the one with the smallest download, for a quick start, and of each kind the one that
    uses most of the memory.
    """
    by_id = {e.preset.id: e for e in entries if _is_a_download_away(e, folders)}
    fitting = fitting_presets((entry.preset for entry in by_id.values()), vram_bytes)
    chosen: dict[str, CatalogEntry] = {}
    for kind in _SUGGESTED_KINDS:
        of_kind = [by_id[preset.id] for preset in fitting if preset.kind == kind]
        if of_kind and kind == "image":
            quick = min(of_kind, key=_download_bytes)
            chosen[quick.preset.id] = quick
        if of_kind:
            best = min(of_kind, key=lambda e: (-(e.preset.vram_gb or 0), _download_bytes(e)))
            chosen[best.preset.id] = best
    return [*chosen.values()]


def _by_readiness(
    entries: Iterable[CatalogEntry], *, online: bool
) -> list[tuple[Lamp, list[tuple[str, int, list[str]]]]]:
    """The titles of the presets that lack nothing, under their headings, for each state."""
    states: dict[Lamp, list[CatalogEntry]] = {}
    for entry in entries:
        if not entry.errors:
            states.setdefault(readiness(entry, online=online), []).append(entry)
    return [
        (state, [(title, len(g), [e.preset.title for e in g]) for title, g in grouped(members)])
        for state, members in states.items()
    ]


def _is_a_download_away(entry: CatalogEntry, folders: ModelFolders) -> bool:
    missing = missing_models(entry.errors)
    return (
        bool(missing)
        and all(error.extra.get("model") in missing for error in entry.errors)
        and all(m.size_bytes and not m.gated and folders.takes(m) for m in missing)
        and not any(p.role in FILE_ROLES and not p.optional for p in entry.preset.params)
    )


def _download_bytes(entry: CatalogEntry) -> int:
    return sum(model.size_bytes or 0 for model in missing_models(entry.errors))


def _suggestion(entry: CatalogEntry) -> dict[str, str]:
    preset = entry.preset
    return {
        "id": preset.id,
        "title": page_text(preset.title, limit=80),
        "kind": KINDS[preset.kind],
        "memory": f"about {preset.vram_gb:g} GB of memory",
        "license": page_text(preset.license or "", limit=60),
        "download": f"Download {size(_download_bytes(entry))}",
    }

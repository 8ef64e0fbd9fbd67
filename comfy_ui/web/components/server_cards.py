"""Cards of the Status tab: the servers, and the share link."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from ...health import HealthReport, HealthVerdict
from ...storage.records import Absence, QueueCounts, ServerStatus
from ..share_link import ShareLinkState
from .html import Html, duration, page_text, size
from .preset_picker import Lamp
from .templates import render

__all__ = ["servers_panel", "share_panel"]


def servers_panel(
    statuses: Sequence[ServerStatus],
    *,
    counts: QueueCounts,
    embedded: bool,
    private: bool,
    free: bool = False,
    notice: str = "",
) -> Html:
    """The state of each server, and the number of jobs.

    ``private``: show URLs, errors and devices. ``free``: offer to free memory. ``embedded``: the
    demo engine serves.
    """
    online = sum(status.online for status in statuses)
    return render(
        "server_cards.html",
        "servers_panel",
        servers=[_server(status, embedded=embedded, private=private) for status in statuses],
        jobs=[("Jobs", f"{counts.running} running, {counts.waiting} waiting")],
        summary=f"{online} of {len(statuses)} online" if len(statuses) > 1 else "",
        notice=notice,
        can_free_memory=free,
    )


def _server(status: ServerStatus, *, embedded: bool, private: bool) -> dict[str, Any]:
    facts = []
    if private:
        facts.append(("Address", "demo engine" if embedded else status.url))
    if status.online:
        facts.append(("Version", status.version or "unknown"))
        facts.append(("Response time", f"{(status.latency_s or 0) * 1000:.0f} ms"))
        facts.append(("In ComfyUI", f"{status.running} running, {status.pending} waiting"))
    if status.health is not None:
        facts += _health(status.health, private=private)
    error = status.error if private else None  # its text may hold the URL
    return {
        "lamp": _lamp(status),
        "facts": facts,
        "error": error and {"message": page_text(error.message), "hint": error.hint},
        "devices": [_device(device) for device in status.devices] if private else [],
    }


_ABSENT: Final[Mapping[Absence, Lamp]] = {
    "idle": Lamp("", "Stopped after idling"),
    "starting": Lamp("", "Starting"),
}


def _lamp(status: ServerStatus) -> Lamp:
    if status.health is not None and status.health.verdict is HealthVerdict.STUCK:
        return Lamp("bad", "Not responding")
    if status.absence is not None:
        return _ABSENT[status.absence]
    return Lamp("good", "Online") if status.online else Lamp("bad", "Offline")


def _health(health: HealthReport, *, private: bool) -> list[tuple[str, str]]:
    facts = [("Since", _clock(health.since))]
    if health.breaker != "closed":
        facts.append(("Next attempt", f"in {health.retry_after_s:.0f} s"))
    if health.verdict is HealthVerdict.STUCK:
        facts.append(("Advice", health.advice))
    if private and health.last_error_at is not None:  # the error's text may hold the URL
        error = f"{page_text(health.last_error)} ({_clock(health.last_error_at)})"
        facts.append(("Last error", error))
    return facts


def _clock(at: float) -> str:
    """The local time, with the date if it is not today."""
    then = datetime.fromtimestamp(at).astimezone()
    today = then.date() == datetime.now().astimezone().date()
    return then.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M")


def _device(device: Mapping[str, Any]) -> dict[str, str]:
    total = float(device.get("vram_total") or 0)
    free = float(device.get("vram_free") or 0)
    return {
        "name": page_text(str(device.get("name", "device")), limit=80),
        "usage": f"{size(total - free)} of {size(total)} in use",
        "percent": f"{100 * (total - free) / total if total > 0 else 0.0:.0f}",
    }


_STATES: Final = {
    "making": Lamp("", "Starting"),
    "alive": Lamp("good", "Running"),
    "shaky": Lamp("", "Offline"),
    "dead": Lamp("bad", "Crashed"),
}


def share_panel(link: ShareLinkState, *, now: float) -> Html:
    """The state and age of the share link."""
    facts = []
    if link.url:
        facts.append(("Link", link.url))
    if link.made_at is not None:
        facts.append(("Created", f"{duration(now - link.made_at)} ago"))
    if link.seen_at is not None:
        facts.append(("Last response", f"{duration(now - link.seen_at)} ago"))
    if link.made > 1:
        facts.append(("Re-created", f"{link.made - 1} times"))
    return render(
        "server_cards.html",
        "share_panel",
        state=_STATES[link.state],
        values=facts,
        trouble=page_text(link.trouble),
    )

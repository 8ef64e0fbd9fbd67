"""The servers behind the page and the public link to it: do they answer, and how full are they."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from ...health import HealthReport, HealthVerdict
from ...storage.records import ServerStatus
from ..share_link import ShareLinkState
from .html import Html, act, el, page_text
from .units import duration, size

__all__ = ["servers_panel", "share_panel"]


def servers_panel(
    told: Sequence[ServerStatus],
    *,
    embedded: bool,
    private: bool,
    free: bool = False,
    notice: str = "",
) -> Html:
    """The servers: does each answer, what is it, how full is it. Visitors see no address."""
    several = len(told) > 1
    answering = sum(status.online for status in told)
    return el(
        "section",
        el(
            "header",
            el("h2", "ComfyUI"),
            el("span", f"{answering} of {len(told)} answer", class_="quiet")
            if several
            else _lamp(told[0]),
        ),
        el("p", notice, class_="trouble") if notice else None,
        [
            el(
                "div",
                el("div", el("h3", f"Server {number}"), _lamp(status), class_="row")
                if several
                else None,
                _server(status, embedded=embedded, private=private),
                class_="server",
            )
            for number, status in enumerate(told, start=1)
        ],
        el(
            "div",
            act("again", "Refresh", data_send="refresh"),
            act("save", "Free memory", data_send="free") if free else None,
            act("stop", "Stop my jobs", data_send="interrupt"),
            class_="acts",
        ),
        class_="panel",
    )


def _server(status: ServerStatus, *, embedded: bool, private: bool) -> list[Html | None]:
    facts: list[Html] = []
    if private:
        facts.append(_fact("Address", "built-in engine" if embedded else status.url))
    if status.online:
        facts.append(_fact("Version", status.version or "unknown"))
        facts.append(_fact("Answers in", f"{(status.latency_s or 0) * 1000:.0f} ms"))
        facts.append(_fact("Queue", f"{status.running} running, {status.pending} waiting"))
    facts += _health(status.health, private=private)
    error = status.error if private else None  # its words may hold the address
    return [
        el("p", page_text(error.message), " ", error.hint, class_="trouble") if error else None,
        el("dl", facts),
        *([_device(device) for device in status.devices] if private else []),
    ]


def _lamp(status: ServerStatus) -> Html:
    stuck = status.health is not None and status.health.verdict is HealthVerdict.STUCK
    if not status.online or stuck:
        said = "Stuck" if stuck else "Does not answer"
        return el("span", el("i", class_="lamp bad"), said, class_="state")
    return el("span", el("i", class_="lamp good"), "Answers", class_="state")


def _health(health: HealthReport | None, *, private: bool) -> list[Html]:
    """Since when, what to do, and what went wrong last; errors may hold the address."""
    if health is None:
        return []
    facts = [_fact("Since", _clock(health.since))]
    if health.breaker != "closed":
        facts.append(_fact("Circuit", f"open, next try in {health.retry_after_s:.0f} s"))
    if health.verdict is HealthVerdict.STUCK:
        facts.append(_fact("Advice", health.advice))
    if private and health.last_error_at is not None:
        said = f"{page_text(health.last_error)} ({_clock(health.last_error_at)})"
        facts.append(_fact("Last error", said))
    return facts


def _clock(at: float) -> str:
    """A time of this machine's day, with the date if it is not today."""
    then = datetime.fromtimestamp(at).astimezone()
    today = then.date() == datetime.now().astimezone().date()
    return then.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M")


def _fact(name: str, value: object) -> Html:
    return el("div", el("dt", name), el("dd", value))


def _device(device: Mapping[str, Any]) -> Html:
    total = float(device.get("vram_total") or 0)
    free = float(device.get("vram_free") or 0)
    used = 100 * (total - free) / total if total > 0 else 0.0
    return el(
        "div",
        el(
            "div",
            el("strong", page_text(str(device.get("name", "device")), limit=80)),
            el("span", f"{size(total - free)} of {size(total)} in use", class_="quiet"),
            class_="row",
        ),
        el(
            "div",
            el("div", class_="fill", style=f"width: {used:.0f}%"),
            class_="meter",
            role="meter",
            aria_label="Memory in use",
            aria_valuemin="0",
            aria_valuemax="100",
            aria_valuenow=f"{used:.0f}",
        ),
        class_="device",
    )


_STATES: Final = {
    "making": ("", "Being made"),
    "alive": ("good", "Works"),
    "shaky": ("", "Does not answer"),
    "dead": ("bad", "Died"),
}


def share_panel(link: ShareLinkState, *, now: float) -> Html:
    """The public link: how old it is, and whether it answered when it was last looked at."""
    lamp, word = _STATES[link.state]
    facts = []
    if link.url:
        facts.append(_fact("Link", link.url))
    if link.made_at is not None:
        facts.append(_fact("Made", f"{duration(now - link.made_at)} ago"))
    if link.seen_at is not None:
        facts.append(_fact("Answered", f"{duration(now - link.seen_at)} ago"))
    if link.made > 1:
        facts.append(_fact("Made anew", f"{link.made - 1} times"))
    return el(
        "section",
        el(
            "header",
            el("h2", "Share link"),
            el("span", el("i", class_=f"lamp {lamp}"), word, class_="state"),
        ),
        el("p", page_text(link.trouble), class_="trouble") if link.trouble else None,
        el("dl", facts),
        class_="panel",
    )

"""Logging to stderr, as text or JSON lines, with secrets removed.

A library leaves logging to its host, so only the command line calls :func:`configure`.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections import deque
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Final, NamedTuple

REDACTED = "[redacted]"
_KEPT_LINES: Final = 1000
_KEPT_LETTERS: Final = 2000  # of a line

# Credentials in text from other programs: URLs with a login, headers, queries.
_PATTERNS = (
    re.compile(r"(?P<keep>://[^\s/:@]+:)[^\s/@]+(?=@)"),
    re.compile(
        r"(?i)(?P<keep>\b(?:authorization|x-api-key|cookie)\b['\"]?\s*[:=]\s*['\"]?)[^'\"\n,}]+"
    ),
    re.compile(r"(?i)(?P<keep>[?&](?:token|key|api_key|password)=)[^&\s]+"),
    re.compile(r"(?i)(?P<keep>\bbearer\s+)[\w.~+/=-]+"),
    re.compile(r"(?P<keep>\bcui_[0-9a-f]{8}_)[0-9a-f]+"),
    re.compile(r"(?P<keep>\b[Bb]asic\s+)(?=[a-z+/]*[A-Z0-9])[\w+/-]{8,}=*"),
)


_HIDDEN: Final[set[str]] = set()
_MIN_SECRET: Final = 4  # a shorter one would blank out ordinary words


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Replace the given secrets, and anything that looks like a credential, in a text.

    Secrets of :func:`hide_secret` are replaced as well.

    >>> redact("GET http://me:hunter2@gpu/ws?token=abc")
    'GET http://me:[redacted]@gpu/ws?token=[redacted]'
    """
    for secret in sorted({*secrets, *_HIDDEN}, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    for pattern in _PATTERNS:
        text = pattern.sub(lambda m: m["keep"] + REDACTED, text)
    return text


class _Formatter(logging.Formatter):
    """Redacts the formatted record, so arguments and tracebacks are covered."""

    def __init__(self, *, as_json: bool, secrets: Iterable[str]) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s  %(message)s", "%H:%M:%S")
        self._as_json = as_json
        self._secrets = tuple(secret for secret in secrets if len(secret) >= _MIN_SECRET)

    def format(self, record: logging.LogRecord) -> str:
        if not self._as_json:
            return redact(super().format(record), self._secrets)
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage(), self._secrets),
        }
        if record.exc_info:
            entry["exception"] = redact(self.formatException(record.exc_info), self._secrets)
        return json.dumps(entry, ensure_ascii=False)


class RecentLine(NamedTuple):
    """A record of the log, redacted, and its number from 1 since the start."""

    number: int
    level: str
    text: str


class _RecentLog(logging.Handler):
    """Keeps the newest records for the page."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[RecentLine] = deque(maxlen=_KEPT_LINES)
        self._count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self._count += 1
        text = self.format(record)[:_KEPT_LETTERS]
        self._lines.append(RecentLine(self._count, record.levelname.lower(), text))

    def lines(self) -> list[RecentLine]:
        """Return the records, the oldest first."""
        with self.lock or nullcontext():
            return list(self._lines)


def recent_lines(level: str, *, text: str = "", after: int = 0) -> list[RecentLine]:
    """Return the newest records since :func:`configure`, 1000 at most, the oldest first.

    Args:
        level: the lowest level.
        text: what a record contains, ignoring case.
        after: the number of a record; only later ones are returned.
    """
    levels = logging.getLevelNamesMapping()
    return [
        line
        for handler in logging.getLogger("comfy_ui").handlers
        if isinstance(handler, _RecentLog)
        for line in handler.lines()
        if line.number > after
        and levels.get(line.level.upper(), 0) >= levels[level.upper()]
        and text.casefold() in line.text.casefold()
    ]


def hide_secret(secret: str) -> None:
    """Redact a secret that was entered after the start, in the log and in errors."""
    if len(secret) >= _MIN_SECRET:
        _HIDDEN.add(secret)


def set_level(level: str) -> None:
    """Change the level of the log on stderr after :func:`configure`."""
    logger = logging.getLogger("comfy_ui")
    for handler in logger.handlers:
        if isinstance(handler.formatter, _Formatter) and not isinstance(handler, _RecentLog):
            handler.setLevel(level.upper())
            logger.setLevel(min(logging.INFO, handler.level))


def configure(level: str, *, as_json: bool = False, secrets: Iterable[str] = ()) -> None:
    """Log to stderr at ``level`` (debug, info, warning, error).

    The newest records from "info" on are kept as well, see :func:`recent_lines`.

    Args:
        level: the lowest level to log.
        as_json: JSON lines instead of text.
        secrets: texts to replace wherever they appear.
    """
    handler = logging.StreamHandler(sys.stderr)
    secrets = [*secrets]
    handler.setFormatter(_Formatter(as_json=as_json, secrets=secrets))
    handler.setLevel(level.upper())
    recent = _RecentLog()
    recent.setFormatter(_Formatter(as_json=False, secrets=secrets))
    logger = logging.getLogger("comfy_ui")
    logger.handlers[:] = [handler, recent]
    logger.setLevel(min(logging.INFO, handler.level))
    logger.propagate = False


def adopt(*names: str) -> None:
    """Send the records of other libraries' loggers to our handlers, which redact them.

    Does nothing without :func:`configure`.
    """
    handlers = logging.getLogger("comfy_ui").handlers
    for name in names if handlers else ():
        logger = logging.getLogger(name)
        logger.handlers = list(handlers)
        logger.propagate = False

"""The results as text and JSON that can be pasted into an issue: secrets are removed."""

from __future__ import annotations

import getpass
import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from ..logging import redact
from ..settings import Settings
from .machine import Machine
from .machine_checks import CheckLevel, CheckResult, check_machine

__all__ = ["DoctorReport", "redactor", "report_on"]

# Folders of accounts, also of Windows' seen from WSL and of removable disks.
_ACCOUNT: Final = re.compile(
    r"(?i)(?P<keep>(?:[/\\](?:home|users)|/(?:run/)?media|[/\\]documents and settings)[/\\])"
    r"(?P<name>[^/\\\s'\"]+)"
)
_LOGIN: Final = re.compile(r"(?P<keep>://)[^\s/@]*@")
_HOST: Final = re.compile(r"(?P<keep>://)(?P<host>\[[^\]]+\]|[^\s/:'\"]+)")
_KEY: Final = re.compile(r"\b(?:sk|hf|pk|gh[pousr]|xox[bp])[-_][\w-]{8,}")


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """The results of all checks, in order, without secrets."""

    results: tuple[CheckResult, ...]

    def count(self, level: CheckLevel) -> int:
        """The number of results of a level."""
        return sum(result.level is level for result in self.results)

    @property
    def ok(self) -> bool:
        """Whether there is no problem; notes do not count."""
        return not self.count(CheckLevel.PROBLEM)

    @property
    def summary(self) -> str:
        """``1 problem, 2 notes, 14 ok``."""
        problems, notes = self.count(CheckLevel.PROBLEM), self.count(CheckLevel.NOTE)
        return (
            f"{problems} problem{'s' * (problems != 1)}, {notes} note{'s' * (notes != 1)}, "
            f"{self.count(CheckLevel.OK)} ok"
        )

    def to_dict(self) -> dict[str, Any]:
        """The report as a dict that json can write."""
        return {
            "ok": self.ok,
            "counts": {str(level): self.count(level) for level in CheckLevel},
            "results": [asdict(result) for result in self.results],
        }

    def __str__(self) -> str:
        lines: list[str] = []
        area = ""
        for result in self.results:
            if result.area != area:
                area = result.area
                lines.append(area)
            lines.append(f"  {result.level:<8} {result.text}")
            if result.advice:
                lines.append(f"{'':11}> {result.advice}")
        return "\n".join([*lines, "", self.summary])


def report_on(machine: Machine, settings: Settings, secrets: Sequence[str] = ()) -> DoctorReport:
    """Judge a machine and remove the secrets: those of the settings, and ``secrets``."""
    clean = redactor([*_secrets(settings), *secrets], home=Path.home(), account=_account_name())
    return DoctorReport(
        tuple(
            CheckResult(result.area, result.level, clean(result.text), clean(result.advice))
            for result in check_machine(machine)
        )
    )


def redactor(secrets: Iterable[str], *, home: Path, account: str) -> Callable[[str], str]:
    """Return a function that removes secrets from a text.

    Replaced are: the secrets; logins, keys and tokens in addresses and headers; the home folder and
    the account's name in paths; and of public addresses the part that identifies them, because a
    rented GPU or a tunnel often needs no other password than its name.
    """
    hidden = sorted({secret for secret in secrets if len(secret) >= 4}, key=len, reverse=True)
    own = re.compile(rf"(?<=[/\\]){re.escape(account)}(?=[/\\'\"\s]|$)") if account else None
    home_text = str(home)

    def clean(text: str) -> str:
        text = _LOGIN.sub(r"\g<keep>", text)
        text = _KEY.sub("[redacted]", redact(text, hidden))
        if len(home_text) > 1:
            text = re.sub(rf"{re.escape(home_text)}(?![^/\\'\"\s:,.])", "~", text)
        text = _ACCOUNT.sub(r"\g<keep>[user]", text)
        if own is not None:
            text = own.sub("[user]", text)
        return _HOST.sub(lambda match: match["keep"] + _masked(match["host"]), text)

    return clean


def _masked(host: str) -> str:
    """Hide what identifies a public host.

    >>> _masked("localhost"), _masked("192.168.1.5"), _masked("a1b2-8188.proxy.runpod.net")
    ('localhost', '192.168.1.5', '[host].proxy.runpod.net')
    >>> _masked("8.8.8.8"), _masked("example.org")
    ('[public address]', '[host].org')
    """
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        first, _, rest = host.partition(".")
        if (
            not rest
            or first == "[host]"
            or host in _WELL_KNOWN
            or host.endswith((".local", ".lan"))
        ):
            return host
        return f"[host].{rest}"
    return host if address.is_private or address.is_unspecified else "[public address]"


_WELL_KNOWN: Final = frozenset({"api.openai.com", "huggingface.co", "github.com", "openrouter.ai"})


def _secrets(settings: Settings) -> list[str]:
    """The secret values of the settings, and the passwords in them and in the addresses."""
    values = (getattr(settings, name) for name in Settings.model_fields)
    texts = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
    if settings.auth is not None:
        texts.append(settings.auth.get_secret_value().partition(":")[2])
    logins = [urlsplit(url if "://" in url else f"//{url}") for url in settings.comfyui_urls]
    return [*texts, *(login.password for login in logins if login.password)]


def _account_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # an account without a name, as in containers
        return ""

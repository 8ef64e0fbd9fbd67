"""Settings that admins have changed on the page, kept in a private document.

A setting of the environment or the command line wins. All apps that share the documents follow it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    SecretStr,
    TypeAdapter,
    ValidationError as PydanticValidationError,
)

from .. import telemetry
from ..errors import ComfyHeadlessError, ValidationError
from ..logging import hide_secret, set_level
from ..private_files import Documents
from ..private_json import PrivateJson
from ..settings import CHANGEABLE, Settings

__all__ = ["SETTINGS_FILE", "ChangedSettings", "SettingChange", "is_secret"]

logger = logging.getLogger(__name__)

SETTINGS_FILE: Final = "settings.json"
"""The document of the changed settings."""
_MAX_HISTORY: Final = 50
_MAX_TEXT: Final = 2000
_CHECK_EVERY_S: Final = 5.0


class SettingChange(BaseModel):
    """Who changed a setting when. ``value`` is None for the default, and empty for secrets."""

    model_config = ConfigDict(frozen=True)

    at: float
    user_id: str
    name: str
    value: str | None = None


class _SettingsFile(BaseModel):
    model_config = ConfigDict(frozen=True)

    values: dict[str, str | float | bool | None] = {}
    history: list[SettingChange] = []


class ChangedSettings:
    """The settings that differ from the environment's, applied to ``settings`` at once.

    Args:
        settings: the settings of the running app; their changeable part follows the document.
        documents: where they are kept.
    """

    def __init__(self, settings: Settings, documents: Documents) -> None:
        self.settings = settings
        self._fixed = frozenset(settings.model_fields_set)
        kind = TypeAdapter(_SettingsFile)
        self._file = PrivateJson(documents, SETTINGS_FILE, kind, "settings")
        self.follow_file()

    def is_fixed(self, name: str) -> bool:
        """Whether the environment or the command line has set it."""
        return name in self._fixed

    def source(self, name: str) -> Literal["start", "page", "default"]:
        """Return where the value of a setting comes from."""
        if self.is_fixed(name):
            return "start"
        return "page" if name in CHANGEABLE and name in self._stored().values else "default"

    def history(self) -> list[SettingChange]:
        """Return the last changes, the newest first."""
        return self._stored().history[::-1]

    def change(self, name: str, value: object, *, user_id: str, now: float | None = None) -> None:
        """Change a setting and keep it; None: the default again.

        Other parts of the app see it after :meth:`follow_file`.

        Raises:
            ValidationError: there is no such setting, it cannot be changed, or the value is
                invalid.
            StorageError: the file cannot be written.
        """
        if name not in CHANGEABLE:
            raise ValidationError(f"'{name[:80]}' needs a restart.", hint="Set its variable.")
        if self.is_fixed(name):
            raise ValidationError(
                "This is set by the environment or the command line.",
                hint="Remove it there and restart to change it here.",
            )
        if value is not None:
            checked = _checked(name, value)
            value = checked.get_secret_value() if isinstance(checked, SecretStr) else checked
        said = None if value is None else "" if is_secret(name) else _text(value)
        at = time.time() if now is None else now
        noted = SettingChange(at=at, user_id=user_id, name=name, value=said)

        def changed(stored: _SettingsFile | None) -> _SettingsFile:
            old = stored or _SettingsFile()
            values = {n: v for n, v in old.values.items() if n != name}
            if value is not None:
                values[name] = value
            return _SettingsFile(values=values, history=[*old.history, noted][-_MAX_HISTORY:])

        self._file.update(changed)

    def follow_file(self) -> frozenset[str]:
        """Apply the file to the settings; return the names of those that have changed.

        Raises:
            StorageError: the file cannot be read.
        """
        stored = self._stored().values
        new: dict[str, Any] = {}
        for name in CHANGEABLE:
            if self.is_fixed(name):
                continue
            value = Settings.model_fields[name].default
            if name in stored:
                try:
                    value = _checked(name, stored[name])
                except ValidationError as error:
                    logger.warning("The stored setting '%s' is ignored: %s", name, error.message)
            if value != getattr(self.settings, name):
                new[name] = value
        self.settings.change(new)
        self._apply_to_process(new)
        return frozenset(new)

    async def keep_current(
        self, apply: Callable[[frozenset[str]], Awaitable[None]] | None = None
    ) -> None:
        """Follow changes by other processes until cancelled; ``apply`` gets their names."""
        while True:
            await asyncio.sleep(_CHECK_EVERY_S)
            try:
                names = await asyncio.to_thread(self.follow_file)
                if names and apply is not None:
                    await apply(names)
            except ComfyHeadlessError as error:
                logger.warning("The settings could not be applied: %s", error)

    def _apply_to_process(self, changed: Mapping[str, Any]) -> None:
        """Apply what the whole process shares: its log, and the secrets to redact there."""
        for value in changed.values():
            if isinstance(value, SecretStr):
                hide_secret(value.get_secret_value())
        if "log_level" in changed:
            set_level(self.settings.log_level)
        if "trace_prompts" in changed:
            telemetry.record_prompts(on=self.settings.trace_prompts)

    def _stored(self) -> _SettingsFile:
        return self._file.read() or _SettingsFile()


def is_secret(name: str) -> bool:
    """Whether a setting is never shown.

    >>> is_secret("hf_token"), is_secret("llm_model")
    (True, False)
    """
    return "SecretStr" in str(Settings.model_fields[name].annotation)


def _checked(name: str, value: object) -> Any:
    """Return a value as the setting's type.

    Raises:
        ValidationError: it is invalid; the message is for the field on the page.
    """
    if isinstance(value, str):
        value = value.strip()
        if len(value) > _MAX_TEXT or any(ord(sign) < 32 for sign in value):
            raise ValidationError("Enter one line of at most 2000 characters.")
        if is_secret(name) and not (value and value.isascii()):
            raise ValidationError("Check it for a line break or a typographic quote.")
        if name == "openai_base_url" and not value.startswith(("http://", "https://")):
            raise ValidationError("Enter an address that begins with http:// or https://.")
    field = Settings.model_fields[name]
    annotation: Any = Annotated[field.annotation, name, *field.metadata]
    kind: TypeAdapter[Any] = TypeAdapter(annotation)
    try:
        return kind.validate_python(value)
    except PydanticValidationError as error:
        raise ValidationError(f"{error.errors()[0]['msg']}.") from None


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

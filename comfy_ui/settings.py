"""Every setting once: environment variable, default, what it does.

Read with :func:`load_settings`, never at import. The command line overrides the environment.
``python -m tests.docs`` writes the table in ``docs/use/settings.md`` from this file.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError as PydanticValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from .errors import ValidationError

DEFAULT_URL = "http://localhost:8188"
DEFAULT_PORT = 7860


def default_data_dir() -> Path:
    """The folder for jobs and results, by the custom of the operating system."""
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return base / "comfy-ui"


class Settings(BaseSettings):
    """All settings. The field descriptions are the ones in the documentation."""

    model_config = SettingsConfigDict(
        env_prefix="COMFY_UI_", frozen=True, extra="ignore", populate_by_name=True
    )

    comfyui_url: Annotated[
        str | None,
        NoDecode,
        Field(
            default=None,
            validation_alias=AliasChoices("comfyui_url", "COMFYUI_URL"),
            description="Address of ComfyUI, or of several, with commas or spaces between: jobs "
            "are shared between them. Unset: http://localhost:8188 if something answers there, "
            "else the embedded engine.",
        ),
    ]
    comfyui_token: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("comfyui_token", "COMFYUI_TOKEN"),
        description="Bearer token sent to ComfyUI, to each one if there are several; not to other "
        "addresses, typed on the page.",
    )
    timeout_s: float = Field(
        default=300.0, gt=0, description="Longest wait for one answer, in seconds."
    )
    verify_tls: bool = Field(default=True, description="Check the certificate of an https address.")

    host: str = Field(default="127.0.0.1", description="Address the app listens on.")
    port: int = Field(default=DEFAULT_PORT, ge=1, le=65535, description="Port the app listens on.")
    share: bool = Field(default=False, description="Make a public Gradio link.")
    auth: SecretStr | None = Field(
        default=None, description="Login for the page, as USER:PASSWORD."
    )
    space_owners: str | None = Field(
        default=None,
        description="Owners of a Space with Hugging Face logins: their names there, with commas. "
        "Unset: the account that the Space belongs to.",
    )
    mcp: bool = Field(default=False, description="Offer the API as tools for assistants at /mcp.")
    demo: bool = Field(default=False, description="Use the embedded engine, whatever else answers.")
    demo_speed: str = Field(
        default="6", description="Sampler steps per second of the embedded engine, or 'instant'."
    )
    data_dir: Path = Field(
        default_factory=default_data_dir, description="Folder for jobs and results."
    )

    models_dir: Path | None = Field(
        default=None,
        description="ComfyUI's models folder, to put missing model files there. Unset: asked of a "
        "ComfyUI on this machine.",
    )
    download_hosts: str = Field(
        default="",
        description="Hosts that model files may come from besides huggingface.co, with commas "
        "between them.",
    )
    hf_token: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("hf_token", "HF_TOKEN"),
        description="Token for model files of Hugging Face that want a login; sent there only.",
    )

    storage_gb: float | None = Field(
        default=None,
        gt=0,
        description="How much of results one person may keep, in GB; deleted results and files "
        "that they sent may take up as much again. Unset: 10 for each visitor where others reach "
        "the page, no limit for the owner of the machine.",
    )

    openai_base_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices("openai_base_url", "OPENAI_BASE_URL"),
        description="OpenAI-compatible server for prompt enhancement.",
    )
    openai_api_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("openai_api_key", "OPENAI_API_KEY"),
        description="Its key.",
    )
    llm_model: str | None = Field(
        default=None, description="Model that enhances prompts; 'rules' uses none."
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="warning", description="How much is logged to stderr."
    )
    log_json: bool = Field(default=False, description="Log one JSON object a line.")
    trace_prompts: bool = Field(
        default=False, description="Put whole workflows, prompts and all, into OpenTelemetry spans."
    )

    @property
    def presets_dir(self) -> Path:
        """The folder with the admin's own presets."""
        return self.data_dir / "presets"

    @property
    def wildcards_dir(self) -> Path:
        """The folder with the wildcard files that prompts can name."""
        return self.data_dir / "wildcards"

    @property
    def comfyui_urls(self) -> tuple[str, ...]:
        """The addresses in ``comfyui_url``, in their order; empty when it is unset."""
        return split_addresses(self.comfyui_url or "")


def split_addresses(text: str) -> tuple[str, ...]:
    """
    >>> split_addresses("gpu1:8188, gpu2:8188 gpu3")
    ('gpu1:8188', 'gpu2:8188', 'gpu3')
    """
    return tuple(text.replace(",", " ").split())


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment; ``overrides`` that are not None win.

    Raises:
        ValidationError: a value does not fit; the message names the setting and the reason.
    """
    try:
        return Settings(**{k: v for k, v in overrides.items() if v is not None})
    except PydanticValidationError as error:
        told = "; ".join(
            f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors()
        )
        raise ValidationError(
            f"A setting does not fit: {told}.",
            hint="See docs/use/settings.md for all settings.",
        ) from error

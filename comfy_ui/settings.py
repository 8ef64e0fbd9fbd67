"""The settings: environment variables, defaults and descriptions.

Read them with :func:`load_settings`, never at import. The command line overrides the environment.
``python -m tests.docs`` writes the table in ``docs/use/settings.md`` from this file.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError as PydanticValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from .errors import ValidationError

DEFAULT_URL = "http://localhost:8188"
DEFAULT_PORT = 7860
_ROOT_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]{1,64}){1,8}")
_HOST_PORT = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):\d{1,5}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/[\w!.*'()-]{1,255}){0,8}/?")
_POSTGRES = ("postgresql://", "postgres://")


def default_data_dir() -> Path:
    """The folder for jobs and results, in the operating system's usual place."""
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return base / "comfy-ui"


class Settings(BaseSettings):
    """All settings. The documentation shows the field descriptions."""

    model_config = SettingsConfigDict(
        env_prefix="COMFY_UI_", frozen=True, extra="ignore", populate_by_name=True
    )

    comfyui_url: Annotated[
        str | None,
        NoDecode,
        Field(
            default=None,
            validation_alias=AliasChoices("comfyui_url", "COMFYUI_URL"),
            description="Address of ComfyUI. Several, separated by commas or spaces, share the "
            "jobs; #jobs=3 at the end of one says how many it runs at a time. Unset: "
            "http://localhost:8188 if a server answers there, else the demo engine.",
        ),
    ]
    comfyui_token: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("comfyui_token", "COMFYUI_TOKEN"),
        description="Bearer token sent to each server of COMFYUI_URL, never to addresses "
        "entered on the page.",
    )
    api_key_comfy_org: SecretStr | None = Field(
        default=None,
        description="Comfy API key that pays for partner nodes. It is sent to the servers of "
        "COMFYUI_URL only, with jobs that have such a node.",
    )
    paid_runs: Literal["admins", "users"] = Field(
        default="admins",
        description="Who may run workflows with partner nodes, which cost credits: admins, or "
        "users as well.",
    )
    timeout_s: float = Field(default=300.0, gt=0, description="Timeout of one request, in seconds.")
    verify_tls: bool = Field(default=True, description="Verify the certificate of https addresses.")

    host: str = Field(default="127.0.0.1", description="Address the app listens on.")
    port: int = Field(default=DEFAULT_PORT, ge=1, le=65535, description="Port the app listens on.")
    share: bool = Field(default=False, description="Create a public Gradio link.")
    auth: SecretStr | None = Field(
        default=None, description="Login for the page, as USER:PASSWORD."
    )
    space_owners: str | None = Field(
        default=None,
        description="Admins of a Space with Hugging Face logins: their user names, separated by "
        "commas. Unset: the account that owns the Space.",
    )
    mcp: bool = Field(
        default=False,
        description="Offer the API as MCP tools for assistants at /mcp. Needs the extra mcp.",
    )
    cors_origins: str = Field(
        default="",
        description="Origins of pages that may call the Images API at /v1 with an API key, "
        "separated by commas, such as https://tool.example. Unset: none.",
    )
    root_path: str = Field(
        default="",
        description="Path below which a reverse proxy serves the app, such as /comfy. Unset: the "
        "X-Forwarded-Prefix header of a trusted proxy, else the root. Makes the app shared.",
    )
    trusted_proxies: str = Field(
        default="",
        description="Addresses and networks of the reverse proxies whose X-Forwarded headers "
        "count, separated by commas; set, it makes the app shared. Unset: FORWARDED_ALLOW_IPS, "
        "else this machine.",
    )
    webhook_hosts: str = Field(
        default="",
        description="Hosts in private networks that webhooks may go to, separated by commas, such "
        "as n8n.lan. Unset: webhooks reach the internet only.",
    )
    demo: bool = Field(default=False, description="Use the demo engine, even if a server answers.")
    demo_speed: str = Field(
        default="6", description="Sampler steps per second of the demo engine, or 'instant'."
    )
    data_dir: Path = Field(
        default_factory=default_data_dir, description="Folder for jobs and results."
    )
    database: SecretStr | None = Field(
        default=None,
        description="PostgreSQL database for jobs and results, as "
        "postgresql://USER:PASSWORD@HOST/NAME. Unset: SQLite in the data folder.",
    )
    workers: Literal["app", "external"] = Field(
        default="app",
        description="Where jobs run. app: on the servers of COMFYUI_URL; external: on those of "
        "comfy-ui worker, which share the database.",
    )

    worker_status: str = Field(
        default="",
        description="Where comfy-ui worker answers /healthz, /readyz and /metrics, such as "
        "127.0.0.1:7861. Unset: nowhere.",
    )
    metrics_token: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="Bearer token with which Prometheus reads /metrics, of at least 16 characters. "
        "Unset: there is no /metrics. Needs the extra observability.",
    )
    files: str | None = Field(
        default=None,
        description="Where files of results and uploads are: s3://BUCKET/PREFIX, or a folder that "
        "the app and its workers share. Unset: the data folder. S3 needs the extra s3 and its "
        "usual variables, such as AWS_ACCESS_KEY_ID.",
    )
    files_cache_gb: float = Field(
        default=10.0,
        gt=0,
        description="Space in the data folder for copies of the files that are in S3, in GB.",
    )
    files_links: Literal["app", "signed"] = Field(
        default="app",
        description="How downloads of files in S3 are sent. app: through the app; signed: from S3 "
        "itself, which browsers must reach, by an address that is valid for five minutes.",
    )

    models_dir: Path | None = Field(
        default=None,
        description="ComfyUI's models folder, for downloads of missing model files. Unset: found "
        "by asking a ComfyUI on this machine.",
    )
    download_hosts: str = Field(
        default="",
        description="Hosts besides huggingface.co that model files may be downloaded from, "
        "separated by commas.",
    )
    hf_token: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("hf_token", "HF_TOKEN"),
        description="Token for Hugging Face model files that require a login; sent there only.",
    )

    engine: bool = Field(
        default=False,
        description="Install a ComfyUI on this machine if there is none yet, and use it.",
    )
    engine_source: str | None = Field(
        default=None,
        description="Source of that ComfyUI: an https address of an archive, an archive or a "
        "folder; #sha256=DIGEST at its end pins an archive. Unset: a pinned release.",
    )
    engine_python: Path | None = Field(
        default=None,
        description="Python of an existing environment with PyTorch and ComfyUI's requirements, "
        "to use instead of a new one.",
    )
    engine_stack: str = Field(
        default="auto",
        description="PyTorch build: auto, cu130, cu128, cu126, rocm7.1, xpu, mps or cpu.",
    )
    engine_memory: Literal["auto", "high", "normal", "low", "none", "cpu"] = Field(
        default="auto",
        description="Use of GPU memory. auto: ComfyUI decides; high: keep models there; normal: "
        "unload them after use; low: for small GPUs, slower; none: hardly any, very slow; cpu: do "
        "not use the GPU.",
    )
    engine_packages: str = Field(
        default="",
        description="Further packages for its environment, separated by spaces, such as those of "
        "its custom nodes.",
    )
    engine_port: int = Field(
        default=8188,
        ge=1,
        le=65535,
        description="Port of that ComfyUI; if it is taken, the next free one.",
    )
    engine_idle_min: float = Field(
        default=0,
        ge=0,
        description="Stop that ComfyUI after so many minutes without a job, which frees the GPU's "
        "memory; the next job starts it again. 0: never.",
    )
    engine_options: str = Field(
        default="", description="Further command-line options of that ComfyUI."
    )
    torch_index: str | None = Field(
        default=None,
        description="Address of a mirror of PyTorch's package indexes; the name of the build is "
        "appended. Unset: PyTorch's own; default: the index of all other packages.",
    )
    torch_packages: str = Field(
        default="",
        description="Other versions of PyTorch than those of the build, such as torch==2.14.1 "
        "torchvision==0.29.1; what is not named gets the newest version that fits.",
    )

    storage_gb: float | None = Field(
        default=None,
        gt=0,
        description="Storage for the results of one user, in GB; deleted results and uploads may "
        "take up as much again. Unset: 10 for each user of a shared page, no limit for admins.",
    )

    openai_base_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices("openai_base_url", "OPENAI_BASE_URL"),
        description="OpenAI-compatible server for prompt enhancement.",
    )
    openai_api_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("openai_api_key", "OPENAI_API_KEY"),
        description="API key of that server.",
    )
    llm_model: str | None = Field(
        default=None,
        description="Model that enhances prompts; 'comfyui' uses a text encoder of ComfyUI "
        "instead, 'rules' the built-in rules.",
    )
    llm_shares_gpu: bool = Field(
        default=False,
        description="The language model and ComfyUI share a GPU: ComfyUI frees its memory before "
        "a prompt is enhanced, and Ollama unloads the model afterwards.",
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="warning", description="Level of the log on stderr."
    )
    log_json: bool = Field(default=False, description="Log one JSON object per line.")
    trace_prompts: bool = Field(
        default=False,
        description="Record whole workflows, including prompts, in OpenTelemetry spans.",
    )

    def change(self, values: Mapping[str, Any]) -> None:
        """Change settings of :data:`CHANGEABLE` in place, for all parts that share this object.

        The values must be valid.
        """
        self.__dict__.update({name: values[name] for name in CHANGEABLE if name in values})

    @field_validator("root_path")
    @classmethod
    def _normalize_root_path(cls, value: str) -> str:
        value = value.strip().rstrip("/")
        if problem := root_path_problem(value):
            raise ValueError(problem)
        return value

    @field_validator("files")
    @classmethod
    def _check_files(cls, value: str | None) -> str | None:
        """Refuse other addresses and credentials in them, which the message must not repeat."""
        if not value:
            return None
        scheme, separator, rest = value.partition("://")
        if not separator or scheme == "file":
            return value
        if scheme != "s3" or not _BUCKET.fullmatch(rest):
            raise ValueError("must be s3://BUCKET/PREFIX without credentials, or a folder")
        return value

    @field_validator("database")
    @classmethod
    def _check_database(cls, value: SecretStr | None) -> SecretStr | None:
        """Refuse other databases. The message must not repeat the address and its password."""
        if value is not None and not value.get_secret_value().startswith(_POSTGRES):
            raise ValueError("must start with postgresql://")
        return value

    @field_validator("worker_status")
    @classmethod
    def _check_worker_status(cls, value: str) -> str:
        if value and not _HOST_PORT.fullmatch(value):
            raise ValueError("must be an address and a port, such as 127.0.0.1:7861")
        return value

    @property
    def worker_status_address(self) -> tuple[str, int] | None:
        """The address and the port in ``worker_status``; None if it is unset."""
        host, _, port = self.worker_status.rpartition(":")
        return (host.strip("[]"), int(port)) if host else None

    @property
    def presets_dir(self) -> Path:
        """The folder with the admin's own presets."""
        return self.data_dir / "presets"

    @property
    def wildcards_dir(self) -> Path:
        """The folder with the wildcard files that prompts can name."""
        return self.data_dir / "wildcards"

    @property
    def tags_dir(self) -> Path:
        """The folder with the lists of tags that prompts are completed with."""
        return self.data_dir / "tags"

    @property
    def comfyui_urls(self) -> tuple[str, ...]:
        """The addresses in ``comfyui_url``, in order; empty if it is unset."""
        return split_addresses(self.comfyui_url or "")

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """The origins in ``cors_origins``, as browsers send them."""
        return tuple(o.rstrip("/").lower() for o in split_addresses(self.cors_origins))


CHANGEABLE: Final = (
    "paid_runs",
    "storage_gb",
    "timeout_s",
    "verify_tls",
    "comfyui_token",
    "api_key_comfy_org",
    "openai_base_url",
    "openai_api_key",
    "llm_model",
    "llm_shares_gpu",
    "cors_origins",
    "webhook_hosts",
    "download_hosts",
    "hf_token",
    "log_level",
    "trace_prompts",
)
"""The settings that admins can change on the page while the app runs. Others need a restart."""


def variable_of(name: str) -> str:
    """Return the environment variable of a setting.

    >>> variable_of("port"), variable_of("hf_token")
    ('COMFY_UI_PORT', 'HF_TOKEN')
    """
    alias = Settings.model_fields[name].validation_alias
    return str(alias.choices[-1]) if isinstance(alias, AliasChoices) else f"COMFY_UI_{name.upper()}"


def root_path_problem(path: str) -> str | None:
    """Return why an app cannot be served below a path; None if it can, or if it is empty.

    >>> root_path_problem("/tools/comfy"), root_path_problem("comfy")
    (None, "'comfy' is not a path such as /comfy.")
    """
    if path and (not _ROOT_PATH.fullmatch(path) or {".", ".."} & {*path.split("/")}):
        return f"'{path[:80]}' is not a path such as /comfy."
    return None


def split_addresses(text: str) -> tuple[str, ...]:
    """Split addresses at commas and spaces.

    >>> split_addresses("gpu1:8188, gpu2:8188 gpu3")
    ('gpu1:8188', 'gpu2:8188', 'gpu3')
    """
    return tuple(text.replace(",", " ").split())


def load_settings(**overrides: Any) -> Settings:
    """Load the settings from the environment; ``overrides`` that are not None win.

    Raises:
        ValidationError: a value is invalid; the message names the setting and the reason.
    """
    try:
        return Settings(**{k: v for k, v in overrides.items() if v is not None})
    except PydanticValidationError as error:
        reasons = "; ".join(
            f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors()
        )
        raise ValidationError(
            f"Invalid setting: {reasons}.",
            hint="See docs/use/settings.md for all settings.",
        ) from error

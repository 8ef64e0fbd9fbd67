"""Check which extras are installed, and how to install the others.

Nothing heavy is imported: ``find_spec`` says whether an import would succeed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from .errors import MissingFeatureError, ValidationError, closest


@dataclass(frozen=True, slots=True)
class Feature:
    """One extra: the modules it needs at run time, and its purpose."""

    modules: tuple[str, ...]
    purpose: str

    @property
    def installed(self) -> bool:
        return all(_can_import(module) for module in self.modules)


# Modules, not distributions: what matters is whether an import would succeed.
_FEATURES: Mapping[str, Feature] = MappingProxyType(
    {
        "ai": Feature(("openai",), "prompt enhancement by a language model"),
        "websocket": Feature(("websockets", "aiohttp"), "live progress through ComfyWSClient"),
        "health": Feature(("psutil",), "health monitor"),
        "ui": Feature(
            ("gradio", "av", "aiohttp", "starlette", "websockets"),
            "the browser app and the demo engine",
        ),
        "engine": Feature(("psutil", "uv"), "a ComfyUI that comfy-ui installs and runs"),
        "mcp": Feature(("mcp_types", "mcp"), "tools for assistants at /mcp"),
        "validation": Feature(("pydantic",), "checked settings and presets (always available)"),
        "observability": Feature(
            ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http", "prometheus_client"),
            "OpenTelemetry traces and metrics, and figures for Prometheus",
        ),
        "s3": Feature(("s3fs",), "files in S3 instead of a folder"),
        "scale": Feature(("psycopg", "psycopg_pool"), "PostgreSQL instead of SQLite"),
    }
)


def _can_import(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # a parent package is missing or broken
        return False


class _Features(Mapping[str, bool]):
    """Read-only ``{name: installed}``; each name is looked up once, on first use."""

    def __init__(self) -> None:
        self._installed: dict[str, bool] = {}

    def __getitem__(self, name: str) -> bool:
        if name not in self._installed:
            self._installed[name] = _FEATURES[name].installed
        return self._installed[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_FEATURES)

    def __len__(self) -> int:
        return len(_FEATURES)

    def __repr__(self) -> str:
        return repr(dict(self))


FEATURES: Mapping[str, bool] = _Features()


def _checked(name: str) -> str:
    if name not in _FEATURES:
        raise ValidationError(f"There is no feature '{name}'.", hint=closest(name, _FEATURES))
    return name


def check_feature(name: str) -> bool:
    """Whether the extra ``name`` is installed.

    Raises:
        ValidationError: there is no such feature.
    """
    return FEATURES[_checked(name)]


def get_install_hint(name: str) -> str:
    """The command that installs the extra ``name``, from where this package was installed.

    >>> get_install_hint("health")
    "pip install 'comfy-ui[health]'"
    """
    _checked(name)
    if _origin() is None:
        return f"pip install -e '.[{name}]'"
    # From a clone or a wheel: pip takes the installed package, and only adds what the extra needs.
    source = _version_control_url()
    return f"pip install 'comfy-ui[{name}]{f' @ {source}' if source else ''}'"


@cache
def _origin() -> dict[str, Any] | None:
    """Where the package was installed from (PEP 610); empty for a package index.

    None: it is not installed, but used in a clone.
    """
    import json
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        text = distribution("comfy-ui").read_text("direct_url.json")
    except PackageNotFoundError:
        return None
    return dict(json.loads(text)) if text else {}


def _is_clone() -> bool:
    return bool((_origin() or {}).get("dir_info", {}).get("editable"))


def _version_control_url() -> str | None:
    """``git+https://…`` if the package was installed from there; without credentials."""
    origin = _origin() or {}
    url, version = str(origin.get("url", "")), origin.get("vcs_info")
    if not version or "@" in urlsplit(url).netloc:
        return None
    revision = version.get("requested_revision")
    return f"{version['vcs']}+{url}{f'@{revision}' if revision else ''}"


def list_available_features() -> dict[str, str]:
    """The purposes of the installed extras, by name."""
    return {name: _FEATURES[name].purpose for name in FEATURES if FEATURES[name]}


def list_missing_features() -> dict[str, str]:
    """The install commands of the extras that are missing, by name."""
    return {name: get_install_hint(name) for name in FEATURES if not FEATURES[name]}


def require_feature(name: str) -> None:
    """Raise :class:`MissingFeatureError` with the install command unless ``name`` is installed."""
    if not check_feature(name):
        raise MissingFeatureError(
            f"This needs the extra '{name}' ({_FEATURES[name].purpose}).",
            feature=name,
            hint=f"Install it with: {get_install_hint(name)}"
            + (f" (in your clone: pip install -e '.[{name}]')" if _is_clone() else ""),
        )

"""Imports between the floors of comfy_ui go down only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "comfy_ui"

FLOORS = {
    "errors": 1,
    "features": 1,
    "lazy_names": 1,
    "logging": 1,
    "resources": 1,
    "settings": 1,
    "protocol": 2,
    "workflow": 2,
    "telemetry": 3,
    "client": 3,
    "prompts": 3,
    "health": 3,
    "demo": 3,
    "storage": 4,
    "models": 5,
    "library": 5,
    "jobs": 6,
    "web": 7,
    "cli": 8,
    "__main__": 9,
}
# Imports between units of one floor.
SAME_FLOOR = {
    ("workflow", "protocol"),  # node specs and outputs are words of the protocol
    ("client", "telemetry"),  # spans are recorded where the calls are made
    ("health", "client"),
    ("settings", "errors"),
    ("features", "errors"),
    ("lazy_names", "features"),
}
PURE = {"protocol", "workflow"}
IMPURE_MODULES = {"asyncio", "httpx", "socket", "threading", "time", "websockets", "urllib.request"}


def _unit(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    """Absolute names of all modules that a file imports, wherever the statement stands."""
    package = ["comfy_ui", *path.relative_to(PACKAGE).parts[:-1]]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, node.module] if node.module else base)
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


FILES = sorted(p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py" or p.parent != PACKAGE)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    mine = _unit(path)
    assert mine in FLOORS, f"{mine} has no floor: give it one in {Path(__file__).name}"
    for name in _imports(path):
        parts = name.split(".")
        if parts[0] != "comfy_ui" or len(parts) == 1 or parts[1] not in FLOORS:
            continue
        other = parts[1]
        if other != mine:
            assert FLOORS[other] < FLOORS[mine] or (mine, other) in SAME_FLOOR, (
                f"{mine} (floor {FLOORS[mine]}) imports {other} (floor {FLOORS[other]})"
            )


@pytest.mark.parametrize(
    "path", [p for p in FILES if _unit(p) in PURE], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_the_rules_have_no_sockets_clock_or_threads(path: Path) -> None:
    assert not _imports(path) & IMPURE_MODULES


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_the_http_library_is_known_to_the_client_alone(path: Path) -> None:
    if _unit(path) != "client" and path != PACKAGE / "models" / "download.py":
        assert "httpx" not in _imports(path)

"""Imports between the floors of comfy_ui go down only."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "comfy_ui"

FLOORS = {
    "errors": 1,
    "features": 1,
    "lazy_names": 1,
    "logging": 1,
    "pictures": 1,
    "private_files": 1,
    "private_json": 1,
    "resources": 1,
    "settings": 1,
    "user_turns": 1,
    "worker_processes": 1,
    "protocol": 2,
    "workflow": 2,
    "telemetry": 3,
    "client": 3,
    "prompts": 3,
    "health": 3,
    "demo": 3,
    "storage": 4,
    "admin_settings": 5,
    "models": 5,
    "monitoring": 5,
    "library": 5,
    "doctor": 6,
    "engine": 6,
    "jobs": 6,
    "scale": 7,
    "web": 8,
    "cli": 9,
    "__main__": 10,
}
# Imports between units of one floor.
SAME_FLOOR = {
    ("workflow", "protocol"),  # node specs and outputs are words of the protocol
    ("client", "telemetry"),  # spans are recorded where the calls are made
    ("health", "client"),
    ("prompts", "client"),  # an encoder of ComfyUI writes a prompt
    ("settings", "errors"),
    ("engine", "doctor"),  # GPUs, drivers and disks are found there
    ("pictures", "errors"),
    ("private_files", "errors"),
    ("private_json", "errors"),
    ("private_json", "private_files"),
    ("worker_processes", "errors"),
    ("worker_processes", "user_turns"),
    ("features", "errors"),
    ("lazy_names", "features"),
}
PURE = {"protocol", "workflow"}
IMPURE_MODULES = {"asyncio", "httpx", "socket", "threading", "time", "websockets", "urllib.request"}


def _unit(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@dataclass(frozen=True)
class _Source:
    """What five tests look at in a file, without the rest of its syntax tree."""

    imports: list[ast.Import | ast.ImportFrom]
    images_opened: list[ast.Call]
    classes: list[str]


@cache
def _source(path: Path) -> _Source:
    nodes = [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    return _Source(
        imports=[node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)],
        images_opened=[
            node
            for node in nodes
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and ast.unparse(node.func) in {"Image.open", "PIL.Image.open"}
        ],
        classes=[node.name for node in nodes if isinstance(node, ast.ClassDef)],
    )


@cache
def _imports(path: Path) -> set[str]:
    """Absolute names of all modules that a file imports, wherever the statement stands."""
    package = ["comfy_ui", *path.relative_to(PACKAGE).parts[:-1]]
    names: set[str] = set()
    for node in _source(path).imports:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        else:
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, node.module] if node.module else base)
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return names


# One test for all files: thousands of quick ones would take longer to report than to run.
FILES = sorted(p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py" or p.parent != PACKAGE)


def test_imports_go_down() -> None:
    without = {_unit(path) for path in FILES} - FLOORS.keys()
    assert without == set(), f"no floor: give them one in {Path(__file__).name}"
    upward = [
        f"{path.relative_to(PACKAGE)} (floor {FLOORS[mine]}) imports {name} (floor {FLOORS[other]})"
        for path in FILES
        for mine in [_unit(path)]
        for name in _imports(path)
        for other in [name.removeprefix("comfy_ui.").partition(".")[0]]
        if name.startswith("comfy_ui.") and other in FLOORS and other != mine
        if FLOORS[other] >= FLOORS[mine] and (mine, other) not in SAME_FLOOR
    ]
    assert upward == []


def test_imports_of_pure_packages_have_no_sockets_clock_or_threads() -> None:
    assert [p for p in FILES if _unit(p) in PURE and _imports(p) & IMPURE_MODULES] == []


def test_imports_of_httpx_are_in_the_client_only() -> None:
    allowed = {path for path in FILES if _unit(path) == "client"}
    allowed.add(PACKAGE / "models" / "download.py")
    assert {path for path in FILES if "httpx" in _imports(path)} <= allowed


def test_image_open_has_an_explicit_list_of_formats() -> None:
    """Pillow tries all of its formats otherwise; for EPS it runs Ghostscript."""
    without = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in FILES
        for node in _source(path).images_opened
        if "formats" not in {keyword.arg for keyword in node.keywords}
    ]
    assert without == []


# --- the module graph -------------------------------------------------------------------------

LIBRARY_HALF = {"protocol", "workflow", "client", "prompts", "health", "telemetry"} | {
    unit for unit, floor in FLOORS.items() if floor == 1
}
APP_HALF = {
    "admin_settings",
    "storage",
    "monitoring",
    "doctor",
    "engine",
    "jobs",
    "library",
    "models",
    "scale",
    "web",
    "cli",
} | {"demo"}
# Circles that still stand, as sets of modules. Delete an entry when its circle is gone.
KNOWN_CIRCLES: set[frozenset[str]] = set()
MAX_MODULES = 14
# Folders with more modules, each with its reason.
LARGE_FOLDERS: dict[str, str] = {}
# Names that still stand for two things. Only shorten these lists.
STEMS_USED_TWICE: set[str] = set()
CLASSES_USED_TWICE: set[str] = set()


def _modules() -> dict[str, Path]:
    """All modules by name. The package's own ``__init__`` is a list of lazy names, not a module."""
    named = {}
    for path in FILES:
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


def _module_graph() -> dict[str, set[str]]:
    """Module → the modules that it imports, also in functions and under ``TYPE_CHECKING``.

    ``from package import module`` is an import of the module, not of the package.
    """
    modules = _modules()
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        package = ["comfy_ui", *path.relative_to(PACKAGE).parts[:-1]]
        imported: set[str] = set()
        for node in _source(path).imports:
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            else:
                base = package[: len(package) - node.level + 1] if node.level else []
                module = ".".join([*base, node.module] if node.module else base)
                longer = {alias.name: f"{module}.{alias.name}" for alias in node.names}
                imported |= {full if full in modules else module for full in longer.values()}
        graph[name] = (imported & {*modules}) - {name}
    return graph


def _circles(graph: dict[str, set[str]]) -> list[frozenset[str]]:
    """The strongly connected components with more than one module."""

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            for other in graph[todo.pop()] - seen:
                seen.add(other)
                todo.append(other)
        return seen

    reach = {name: reachable(name) for name in graph}
    in_circle = {name for name in graph if name in reach[name]}
    groups = {
        frozenset(other for other in reach[name] if name in reach[other]) for name in in_circle
    }
    return sorted(groups, key=sorted)


def test_circles_with_a_cycle_returns_it() -> None:
    assert _circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == [frozenset("bc")]


def test_module_graph_has_no_circle() -> None:
    assert {*_circles(_module_graph())} <= KNOWN_CIRCLES


def test_library_half_imports_nothing_of_the_app() -> None:
    for path in FILES:
        if _unit(path) in LIBRARY_HALF:
            units = {
                name.split(".")[1]
                for name in _imports(path)
                if name.startswith("comfy_ui.") and name != "comfy_ui"
            }
            assert not units & APP_HALF, path


def test_file_stems_are_unique() -> None:
    stems = [path.stem for path in FILES if path.stem not in {"__init__", "main", "__main__"}]
    assert {stem for stem in stems if stems.count(stem) > 1} <= STEMS_USED_TWICE


def test_class_names_are_unique() -> None:
    names = [name for path in FILES for name in _source(path).classes]
    assert {name for name in names if names.count(name) > 1} <= CLASSES_USED_TWICE


def test_folders_have_at_most_14_modules() -> None:
    counts: dict[str, int] = {}
    for path in FILES:
        if path.name != "__init__.py":
            folder = str(path.parent.relative_to(PACKAGE))
            counts[folder] = counts.get(folder, 0) + 1
    large = {folder for folder, count in counts.items() if count > MAX_MODULES}
    assert large <= {*LARGE_FOLDERS}

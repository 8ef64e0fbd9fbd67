"""The wheel, installed with every combination of extras that matters."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.environments import fill_environment, new_environment, run_uv

ROOT = Path(__file__).resolve().parent.parent

# extra -> the features that must be there; all others must be absent
ALWAYS = {"validation"}
COMBINATIONS = {
    "": set(),
    "ai": {"ai"},
    "websocket": {"websocket"},
    "health": {"health"},
    "ui": {"ui", "websocket"},  # the app follows its jobs through the WebSocket client
    "observability": {"observability"},
    "engine": {"engine", "health"},  # both read processes with psutil
    "s3": {"s3"},
    "scale": {"scale"},
    "standard": {"ai", "websocket"},
    "mcp": {"mcp"},
    "full": {"ai", "websocket", "health", "ui", "engine", "mcp", "observability"},
}

# Runs inside each environment and prints what it saw. A name that needs an absent extra has to
# say so; one whose extra is there has to work.
PROBE = """
import json, comfy_ui, comfy_headless
from comfy_ui import MissingFeatureError
from comfy_ui.resources import assets_dir

def attempt(call):
    try:
        call()
    except MissingFeatureError as error:
        return [error.feature, error.hint]
    return "works"

def make_app():
    from comfy_ui.web import build
    return build

def enhance_button():
    if not comfy_ui.FEATURES["ui"]:
        return None
    from pathlib import Path
    from comfy_ui.web.auth.access import Access, AccessMode
    from comfy_ui.web.page import build
    from comfy_ui.web.services import Services
    from comfy_ui.web.server_choice import choose
    settings = comfy_ui.load_settings(demo=True, data_dir=Path("data").resolve())
    page = build(Services.create(settings, choose(settings)), Access(AccessMode.LOCAL, b"secret"))
    return any(c["props"].get("elem_id") == "enhance" for c in page.get_config_file()["components"])

def trace():
    from comfy_ui import telemetry
    telemetry.setup()

print(json.dumps({
    "features": dict(comfy_ui.FEATURES),
    "missing": comfy_ui.list_missing_features(),
    "presets": len(comfy_ui.list_presets()),
    "assets": sorted(p.name for p in assets_dir().iterdir()),
    "enhanced": comfy_headless.enhance_prompt("a cat").source,
    "sync": attempt(lambda: comfy_ui.ComfyClient()),
    "websocket": attempt(lambda: comfy_ui.ComfyWSClient()),
    "health": attempt(lambda: comfy_ui.ComfyHealth()),
    "ui": attempt(make_app),
    "enhance_button": enhance_button(),
    "observability": attempt(trace),
    "where": comfy_ui.__file__,
}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run_uv("build", "--wheel", "--out-dir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all extras: what each does not need is removed again, the rest stays compiled."""
    folder = tmp_path_factory.mktemp("wheels") / "env"
    new_environment(folder)
    return folder


@pytest.mark.timeout(600)  # the first one downloads what the extras need
@pytest.mark.parametrize(
    "extra",
    [
        pytest.param(extra, id=extra, marks=pytest.mark.slow) if extra else ""
        for extra in COMBINATIONS
    ],
    ids=lambda extra: extra or "none",
)
def test_wheel_with_extra_has_its_features(
    extra: str, wheel: Path, environment: Path, tmp_path: Path
) -> None:
    python = fill_environment(environment, f"{wheel}[{extra}]" if extra else wheel)

    done = subprocess.run(
        [python, "-I", "-c", PROBE], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)

    assert str(environment) in seen["where"]
    present = COMBINATIONS[extra] | ALWAYS
    assert {name for name, there in seen["features"].items() if there} == present
    absent = set(seen["features"]) - present
    assert seen["missing"] == {name: f"pip install 'comfy-ui[{name}]'" for name in absent}
    assert seen["presets"] >= 4
    assert {"icons", "styles"} <= set(seen["assets"])
    # On the page only where openai is: a button that cannot work is not shown.
    assert seen["enhance_button"] == ("ai" in present if "ui" in present else None)
    assert seen["enhanced"] == "rules"  # no language model is configured
    assert seen["sync"] == "works"
    for name in ("websocket", "health", "ui", "observability"):
        if name in present:
            assert seen[name] == "works"
        else:
            feature, hint = seen[name]
            assert feature == name
            assert f"comfy-ui[{name}]" in hint


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    run_uv("build", "--sdist", "--out-dir", folder, ROOT)
    (built,) = folder.glob("*.tar.gz")
    return built


@pytest.mark.slow
def test_sdist_has_every_file_of_the_repository(sdist: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    tracked = {name for name in listed if (ROOT / name).is_file()}
    assert tracked - packed == {".git-blame-ignore-revs"}
    assert packed - tracked <= {"PKG-INFO"}


@pytest.mark.slow
def test_wheel_is_reproducible_and_the_sdist_builds_the_same_one(
    wheel: Path, sdist: Path, tmp_path: Path
) -> None:
    run_uv("build", "--wheel", "--out-dir", tmp_path, sdist)
    (rebuilt,) = tmp_path.glob("*.whl")
    assert rebuilt.name == wheel.name
    assert rebuilt.read_bytes() == wheel.read_bytes()

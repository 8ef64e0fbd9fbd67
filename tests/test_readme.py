"""The README: links, examples' commands, the pins for Spaces, and its form on the package index."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
import zipfile
from email import message_from_bytes
from email.message import Message

import pytest
import uv
from packaging.requirements import Requirement
from packaging.version import Version

from tests.conftest import ROOT
from tests.docs import examples

README = (ROOT / "README.md").read_text(encoding="utf-8")
REQUIREMENTS = (ROOT / "requirements.txt").read_text(encoding="utf-8")
REPOSITORY = "https://github.com/octocat/comfy-ui"


def test_readme_test_command_is_the_one_ci_runs() -> None:
    command = next(c.strip() for c in examples(README, "sh") if c.strip().endswith("pytest"))
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_readme_links_lead_to_files() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


BUILT_FROM = [
    *("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"),
    *("comfy_ui", "comfy_headless", "workflows", "assets"),
]


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> Message:
    """The metadata of a wheel that GitHub Actions builds for a tag."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # without the PKG-INFO of an sdist, which would be taken instead
    source.mkdir()
    for name in BUILT_FROM:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    subprocess.run(
        [uv.find_uv_bin(), "build", "--wheel", "--quiet", "--out-dir", folder, source],
        env={**os.environ, "GITHUB_REPOSITORY": "octocat/comfy-ui", "GITHUB_REF_NAME": "v1.2.3"},
        check=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        return message_from_bytes(archive.read(name))


@pytest.fixture(scope="module")
def description(metadata: Message) -> str:
    assert metadata["Description-Content-Type"] == "text/markdown"
    return str(metadata.get_payload(decode=True), "utf-8")


def test_metadata_names_author_pythons_and_links(metadata: Message) -> None:
    assert metadata["Author"] == "comfy-ui contributors"
    links = dict(link.split(", ", 1) for link in metadata.get_all("Project-URL", []))
    assert links["Source"] == REPOSITORY
    assert {"Changelog", "Documentation", "Issues"} <= {*links}
    assert "Programming Language :: Python :: 3.14" in metadata.get_all("Classifier", [])


def test_index_readme_begins_with_the_title(description: str) -> None:
    assert README.startswith("---\n"), "Spaces read the front matter"
    assert description.startswith("# comfy-ui\n")


def test_index_readme_has_only_absolute_links_to_existing_files(description: str) -> None:
    assert re.findall(r"\]\((?!https?:)[^)]*\)", description) == []
    paths = re.findall(rf"{REPOSITORY}/(?:raw|blob)/v1\.2\.3/([^)#]+)\)", description)
    assert len(paths) == len(re.findall(r"\]\((?!https?:|#)", README))
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_index_readme_shows_its_picture_from_the_repository(description: str) -> None:
    assert f"]({REPOSITORY}/raw/v1.2.3/assets/screenshots/create-wide-light.webp)" in description


def test_requirements_pin_the_gradio_of_the_space() -> None:
    (version,) = re.findall(r"^sdk_version: (.+)$", README, flags=re.MULTILINE)
    assert f"gradio=={version}" in REQUIREMENTS.splitlines()
    assert all(re.match(r"[a-z0-9._-]+==\S+( ; .+)?$", line) for line in REQUIREMENTS.splitlines())


def test_requirements_cover_all_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    del extras["mcp"]  # Spaces install gradio[mcp], which requires an older SDK
    dependencies = [*project["dependencies"], *(d for name in extras for d in extras[name])]
    pins = {
        name: Version(line.partition("==")[2].split()[0])
        for line in REQUIREMENTS.splitlines()
        for name in [line.partition("==")[0]]
    }
    for requirement in map(Requirement, dependencies):
        if requirement.name != "comfy-ui":
            assert requirement.specifier.contains(pins[requirement.name]), requirement
    assert {"authlib", "itsdangerous"} <= set(pins), "gradio[oauth]"

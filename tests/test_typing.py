"""Programs of users pass strict type checkers; all of them share one run of each."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

TYPED_PROGRAM = """
import comfy_headless
import comfy_headless.errors
import comfy_ui.errors
from comfy_headless import *
from comfy_headless import ComfyWSClient as Client

reveal_type(comfy_headless.check_workflow)
reveal_type(ComfyClient)
reveal_type(Client.generate_image)

def same_type(error: comfy_ui.errors.ValidationError) -> comfy_headless.ComfyHeadlessError:
    return error

def same_type_of_submodule(error: comfy_headless.errors.ValidationError) -> ValidationError:
    return error
"""


# No type of theirs is in ours: to follow their imports takes two thirds of mypy's time.
MYPY = """
[mypy]
strict = true

[mypy-aiohttp.*,click.*,numpy.*,openai.*,rich.*]
follow_imports = skip
"""

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
USER_PROGRAM = ROOT / "tests" / "typed" / "user_program.py"


def _checked(*command: object, folder: Path) -> tuple[int, str]:
    process = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return process.returncode, process.stdout + process.stderr


@pytest.mark.slow
def test_user_programs_are_clean_for_mypy_strict(tmp_path: Path) -> None:
    programs = [USER_PROGRAM, *EXAMPLES]
    for package in ("comfy_ui", "comfy_headless"):
        program = tmp_path / f"program_of_{package}.py"
        program.write_text(TYPED_PROGRAM.replace("comfy_headless", package), encoding="utf-8")
        programs.append(program)
    (tmp_path / "mypy.ini").write_text(MYPY)
    options = ["--cache-dir", os.devnull, "--python-executable", sys.executable]
    status, output = _checked("mypy", *options, *programs, folder=tmp_path)
    assert status == 0, output
    assert '"Any"' not in output
    assert len(re.findall("Revealed type", output)) == 6


@pytest.mark.slow
def test_user_programs_are_clean_for_pyright_strict(tmp_path: Path) -> None:
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    alias = tmp_path / "program_of_comfy_headless.py"
    text = USER_PROGRAM.read_text(encoding="utf-8")
    alias.write_text(text.replace("from comfy_ui ", "from comfy_headless "), encoding="utf-8")
    status, output = _checked(
        "pyright", "--pythonpath", sys.executable, USER_PROGRAM, *EXAMPLES, alias, folder=tmp_path
    )
    assert status == 0, output
    assert "warning" not in output.replace("0 warnings", "")

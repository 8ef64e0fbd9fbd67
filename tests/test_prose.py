"""The prose linter, ``.ci/prose``: what it finds, and where it does not look."""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT


@pytest.fixture
def prose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The linter's module, which looks for files in ``tmp_path``."""
    loader = SourceFileLoader("prose", str(ROOT / ".ci" / "prose"))
    spec = spec_from_loader("prose", loader)
    assert spec is not None
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    module = module_from_spec(spec)
    loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return module


def _lines(prose: Any, name: str, text: str) -> list[int]:
    (prose.ROOT / name).write_text(text, encoding="utf-8")
    return sorted(int(problem.split(":")[1]) for problem in prose.check(Path(name)))


def test_prose_python_finds_docstrings_comments_and_messages(prose: Any) -> None:
    text = '"""Nobody.\n\nWhoever."""\nx = 1  # in vain\nraise ValueError(f"{x} is told to mend")\n'
    assert _lines(prose, "a.py", text) == [1, 3, 4, 5, 5]


def test_prose_python_ignores_names_keys_and_quotations(prose: Any) -> None:
    text = 'nobody = {"nobody": 1, "mend it": 2}\n# ComfyUI says ``nobody`` and "for ever"\n'
    assert _lines(prose, "a.py", text) == []


def test_prose_script_finds_comments_only(prose: Any) -> None:
    text = '// anew\nconst a = "nobody is in here";\n/* one\n   somebody */\n'
    assert _lines(prose, "a.js", text) == [1, 4]


def test_prose_markdown_ignores_code_and_generated_tables(prose: Any) -> None:
    text = "Colour\n\n```\nnobody\n```\n\n<!-- errors -->\n\n| whoever |\n\nsomebody `nobody`\n"
    assert _lines(prose, "a.md", text) == [1, 11]


@pytest.mark.parametrize("word", ["whoever", "sees to it", "mended", "behaviour", "for ever"])
def test_prose_advice_of_each_word_is_not_empty(prose: Any, word: str) -> None:
    assert prose.advice(word)

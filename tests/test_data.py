"""tests/data holds facts and no other people's texts."""

from __future__ import annotations

import gzip
import json

from tests.conftest import DATA
from tests.object_info_facts import facts

FILES = sorted([*DATA.rglob("*.json"), *DATA.rglob("*.json.gz")])


def test_data_files_hold_no_texts_about_nodes() -> None:
    for path in FILES:
        raw = path.read_bytes()
        content = json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
        assert facts(content) == content, path


def test_data_stays_small() -> None:
    assert len(FILES) >= 28
    assert sum(path.stat().st_size for path in FILES) < 3_000_000

"""What Gradio keeps of callers who are gone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from comfy_ui.web import process_memory
from tests.security.support import GRADIO, Person, served

pytestmark = GRADIO


def test_callers_who_are_gone_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_memory, "CAPACITY", 5)
    with served(tmp_path, monkeypatch, users=False) as page, Person.comes(page) as visitor:
        queue = page._queue
        queue.pending_messages_per_session.max_size = 5
        for _ in range(20):
            visitor.call("presets")
        assert len(page.app.state_holder.session_data) <= 5
        process_memory.sweep(page)
        assert len(queue.pending_event_ids_session) <= 5
        assert queue.ANALYTICS_MAX_EVENTS == 100


def test_a_new_session_does_not_describe_the_page_to_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(tmp_path, monkeypatch, users=False) as page, Person.comes(page) as visitor:
        visitor.call("presets")
        described = [len(s.config_values) for s in page.app.state_holder.session_data.values()]
        assert described
        assert max(described) <= 1


def test_who_still_waits_for_an_answer_is_not_forgotten() -> None:
    queue = SimpleNamespace(
        pending_event_ids_session={
            "over": set(),
            "left": {"ended"},
            "waits": {"ended", "runs"},
            "told": set(),
        },
        pending_messages_per_session={"told": ["message"]},
        event_ids_to_events={"runs": "event"},
    )
    process_memory.sweep(SimpleNamespace(_queue=queue))
    assert [*queue.pending_event_ids_session] == ["waits", "told"]

"""What Gradio keeps of sessions that ended."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from comfy_ui.web import process_memory
from tests.security.support import GRADIO, PageClient, served

pytestmark = GRADIO


def test_process_memory_sweep_frees_sessions_that_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_memory, "CAPACITY", 5)
    with served(tmp_path, monkeypatch, users=False) as page, PageClient.open(page) as visitor:
        queue = page._queue
        queue.pending_messages_per_session.max_size = 5
        for _ in range(20):
            visitor.call("presets")
        assert len(page.app.state_holder.session_data) <= 5
        process_memory.sweep(page)
        assert len(queue.pending_event_ids_session) <= 5
        assert queue.ANALYTICS_MAX_EVENTS == 100


def test_session_state_new_session_holds_no_page_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(tmp_path, monkeypatch, users=False) as page, PageClient.open(page) as visitor:
        visitor.call("presets")
        sessions = [*page.app.state_holder.session_data.values()]
        assert sessions
        assert not any(any(session.config_values.values()) for session in sessions)


def test_process_memory_sweep_keeps_sessions_with_pending_events() -> None:
    queue = SimpleNamespace(
        pending_event_ids_session={
            "over": set(),
            "ended": {"ended"},
            "waits": {"ended", "runs"},
            "unread": set(),
        },
        pending_messages_per_session={"unread": ["message"]},
        event_ids_to_events={"runs": "event"},
    )
    process_memory.sweep(SimpleNamespace(_queue=queue))
    assert [*queue.pending_event_ids_session] == ["waits", "unread"]

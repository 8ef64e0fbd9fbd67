"""What routes answer, in the shapes of old and new servers."""

from __future__ import annotations

from typing import Any

import pytest

from comfy_ui.client import endpoints
from comfy_ui.client.response_models import SystemStats, UploadedFile
from comfy_ui.client.transport.request import ApiRequest
from comfy_ui.errors import ComfyUIConnectionError
from tests.client.support import answer, history_of


def read(call: ApiRequest[Any], body: Any, *, status: int = 200) -> Any:
    return call.parse(answer(body, status=status))


def test_f26_the_queue_keeps_nobodys_extra_data() -> None:
    item = [1, "id", {"1": {}}, {"api_key_comfy_org": "secret"}, ["1"]]
    queue = read(endpoints.queue(), {"queue_running": [item], "queue_pending": []})
    assert "id" in queue.running
    assert "secret" not in repr(queue)
    assert "secret" not in str(vars(type(queue.running["id"])))


@pytest.mark.parametrize("body", [[], {}, {"error": "x"}, {"queue_running": []}])
def test_f24_an_answer_without_the_lists_is_not_an_empty_queue(body: Any) -> None:
    with pytest.raises(ComfyUIConnectionError):
        read(endpoints.queue(), body)


def test_f15_history_is_none_for_unknown_and_an_error_for_nonsense() -> None:
    call = endpoints.history("mine")
    assert read(call, {}) is None
    assert read(call, {"code": "x"}, status=404) is None
    assert read(call, history_of("mine")).outputs
    with pytest.raises(ComfyUIConnectionError):
        read(call, {"error": "proxy"})


def test_ids_and_names_are_quoted_into_paths() -> None:
    assert endpoints.history("a/b?c").path == "/history/a%2Fb%3Fc"
    assert endpoints.read_userdata("workflows/ü.json").path == "/userdata/workflows%2F%C3%BC.json"


def test_the_atomic_cancel_tells_a_missing_route_from_a_job_not_cancelled() -> None:
    call = endpoints.cancel_job("id")
    assert read(call, {"cancelled": True}) is True
    assert read(call, {"cancelled": False}) is False
    assert all(read(call, b"", status=status) is None for status in (404, 405))


@pytest.mark.parametrize(
    ("told", "seconds"), [(1795351575.5, 1795351575.5), (1795351575500, 1795351575.5)]
)
def test_times_of_user_files_are_seconds_from_old_and_new_cores(
    told: float, seconds: float
) -> None:
    body = [{"path": "a.json", "size": 2, "modified": told}, "junk"]
    (file,) = read(endpoints.userdata("workflows"), body)
    assert (file.path, file.size_bytes, file.modified_at) == ("a.json", 2, seconds)
    assert read(endpoints.userdata("none"), b"Directory not found", status=404) == []


def test_log_lines_come_without_colours() -> None:
    body = {"entries": [{"t": "2026", "m": "\x1b[32m[INFO]\x1b[0m done\n"}]}
    assert [line.text for line in read(endpoints.logs(), body)] == ["[INFO] done"]


@pytest.mark.parametrize(
    "body", [{}, {"system": None, "devices": None}, {"devices": [1, {}]}, None]
)
def test_system_stats_read_whatever_is_left_out(body: Any) -> None:
    assert isinstance(SystemStats.read(body), SystemStats)


def test_an_uploaded_file_is_the_value_of_a_loader() -> None:
    file = UploadedFile.at("cat.png", subfolder="pets", type="temp")
    assert file == "pets/cat.png [temp]"
    assert (file.filename, file.subfolder, file.type) == ("cat.png", "pets", "temp")


def test_f7_the_node_list_gets_minutes() -> None:
    assert endpoints.object_info().timeout_s == endpoints.OBJECT_INFO_TIMEOUT_S >= 300


def test_the_index_of_official_templates_is_read_category_by_category() -> None:
    index = [
        {
            "title": "Video",
            "type": "video",
            "templates": [
                {"name": "a", "title": "A", "openSource": True, "description": "d"},
                {"name": "b", "openSource": False},
                {"title": "no name"},
                7,
            ],
        },
        "odd",
    ]
    first, second = read(endpoints.official_templates(), index)
    assert (first.name, first.title, first.category, first.kind) == ("a", "A", "Video", "video")
    assert (first.paid, second.paid, second.title) == (False, True, "b")
    assert read(endpoints.official_templates(), b"no", status=404) == []
    assert endpoints.official_template("x/y").path == "/templates/x%2Fy.json"

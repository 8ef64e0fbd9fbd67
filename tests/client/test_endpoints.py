"""Responses of each route, in the shapes of old and new servers."""

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


def test_f26_queue_drops_extra_data() -> None:
    item = [1, "id", {"1": {}}, {"api_key_comfy_org": "secret"}, ["1"]]
    queue = read(endpoints.queue(), {"queue_running": [item], "queue_pending": []})
    assert "id" in queue.running
    assert "secret" not in repr(queue)
    assert "secret" not in str(vars(type(queue.running["id"])))


@pytest.mark.parametrize("body", [[], {}, {"error": "x"}, {"queue_running": []}])
def test_f24_queue_without_lists_raises_connection_error(body: Any) -> None:
    with pytest.raises(ComfyUIConnectionError):
        read(endpoints.queue(), body)


def test_f15_history_unknown_job_is_none_and_invalid_body_raises() -> None:
    call = endpoints.history("mine")
    assert read(call, {}) is None
    assert read(call, {"code": "x"}, status=404) is None
    assert read(call, history_of("mine")).outputs
    with pytest.raises(ComfyUIConnectionError):
        read(call, {"error": "proxy"})


def test_endpoint_path_quotes_ids_and_names() -> None:
    assert endpoints.history("a/b?c").path == "/history/a%2Fb%3Fc"
    assert endpoints.read_userdata("workflows/ü.json").path == "/userdata/workflows%2F%C3%BC.json"


def test_cancel_job_missing_route_is_none_and_uncancelled_is_false() -> None:
    call = endpoints.cancel_job("id")
    assert read(call, {"cancelled": True}) is True
    assert read(call, {"cancelled": False}) is False
    assert all(read(call, b"", status=status) is None for status in (404, 405))


@pytest.mark.parametrize(
    ("modified", "seconds"), [(1795351575.5, 1795351575.5), (1795351575500, 1795351575.5)]
)
def test_userdata_modified_time_is_seconds_for_old_and_new_servers(
    modified: float, seconds: float
) -> None:
    body = [{"path": "a.json", "size": 2, "modified": modified}, "junk"]
    (file,) = read(endpoints.userdata("workflows"), body)
    assert (file.path, file.size_bytes, file.modified_at) == ("a.json", 2, seconds)
    assert read(endpoints.userdata("none"), b"Directory not found", status=404) == []


def test_logs_strips_color_codes() -> None:
    body = {"entries": [{"t": "2026", "m": "\x1b[32m[INFO]\x1b[0m done\n"}]}
    assert [line.text for line in read(endpoints.logs(), body)] == ["[INFO] done"]


@pytest.mark.parametrize(
    "body", [{}, {"system": None, "devices": None}, {"devices": [1, {}]}, None]
)
def test_system_stats_read_accepts_missing_fields(body: Any) -> None:
    assert isinstance(SystemStats.read(body), SystemStats)


def test_uploaded_file_equals_loader_input_value() -> None:
    file = UploadedFile.at("cat.png", subfolder="pets", type="temp")
    assert file == "pets/cat.png [temp]"
    assert (file.filename, file.subfolder, file.type) == ("cat.png", "pets", "temp")


def test_f7_object_info_timeout_is_minutes() -> None:
    assert endpoints.object_info().timeout_s == endpoints.OBJECT_INFO_TIMEOUT_S >= 300


def test_official_templates_index_is_read_by_category() -> None:
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

"""HTTP routes: uploads, views, limits, path safety and the jobs API of newer cores."""

from __future__ import annotations

import io
import json
import time
import uuid
from typing import Any

import httpx
import pytest
from PIL import Image

from comfy_ui.demo import DemoServer, Faults
from tests.demo import support


def _png(color: str = "red", size: tuple[int, int] = (32, 24)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGBA", size, color).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("path", ["/prompt", "/queue", "/history", "/features", "/object_info"])
def test_route_with_and_without_api_prefix_responds_equally(engine, path) -> None:
    assert support.request(engine, path).json == support.request(engine, f"/api{path}").json


def test_route_unknown_path_returns_404_and_wrong_method_405(engine) -> None:
    unknown = support.request(engine, "/nosuch")
    assert (unknown.status, unknown.body) == (404, b"")
    assert unknown.headers["content-type"] == "application/octet-stream"
    assert support.request(engine, "/interrupt").status == 404
    wrong = support.request(engine, "/prompt", method="DELETE")
    assert wrong.status == 405
    assert "POST" in wrong.headers["allow"]


def test_route_foreign_origin_is_rejected(engine) -> None:
    assert (
        support.request(engine, "/prompt", headers={"Origin": "http://evil.example"}).status == 403
    )
    assert support.request(engine, "/prompt", headers={"Origin": engine.url}).status == 200


def test_upload_image_keeps_name_unless_bytes_differ(engine) -> None:
    def name(data: bytes, **fields: str) -> str:
        return support.upload(engine, "a.png", data, **fields).json["name"]

    assert name(_png("red")) == "a.png"
    assert name(_png("red")) == "a.png"
    assert name(_png("blue")) == "a (1).png"
    assert name(_png("blue"), overwrite="true") == "a.png"
    assert name(_png("lime"), overwrite="True") == "a (2).png"


def test_upload_image_is_viewable_and_listed_in_load_image(engine) -> None:
    response = support.upload(engine, "füchse 火.png", _png(), subfolder="a/b").json
    assert response == {"name": "füchse 火.png", "subfolder": "a/b", "type": "input"}
    file = {"filename": response["name"], "subfolder": "a/b", "type": "input"}
    assert support.view(engine, file) == _png()
    support.upload(engine, "top.png", _png())
    choices = support.request(engine, "/object_info/LoadImage").json["LoadImage"]["input"][
        "required"
    ]
    assert choices["image"][0] == ["top.png"]


@pytest.mark.parametrize(
    ("name", "fields", "status"),
    [
        ("../evil.png", {}, 400),
        ("x.png", {"subfolder": "../x"}, 400),
        ("x.png", {"subfolder": "/tmp"}, 400),
        ("d1/d2.png", {}, 500),
        ("", {}, 500),
        ("x.png", {"type": "bogus"}, 500),
        ("x\0.png", {}, 400),
    ],
)
def test_upload_image_invalid_name_or_folder_is_rejected(engine, name, fields, status) -> None:
    assert support.upload(engine, name, _png(), **fields).status == status


def test_view_path_outside_folders_is_rejected(engine) -> None:
    def status(query: str) -> int:
        return support.request(engine, f"/view?{query}").status

    assert status("filename=nosuch.png") == 404
    assert status("") == 404
    assert status("filename=") == 400
    assert status("filename=..%2F..%2Fpasswd") == 400
    assert status("filename=/etc/passwd") == 400
    assert status("filename=passwd&subfolder=/etc") == 403
    assert status("filename=passwd&subfolder=..%2F..") == 403
    assert status("filename=a.png&type=bogus") == 400
    assert status("filename=a%00b.png") == 404


def test_load_image_absolute_path_is_rejected(engine) -> None:
    graph = support.empty_image()
    graph["1"] = {"class_type": "LoadImage", "inputs": {"image": "/etc/passwd"}}
    response = support.request(engine, "/prompt", json_body={"prompt": graph})
    assert response.status == 400
    error = response.json["node_errors"]["1"]["errors"][0]
    assert error["type"] == "custom_validation_failed"


def test_save_image_prefix_outside_output_folder_fails(engine) -> None:
    graph = support.empty_image()
    graph["2"]["inputs"]["filename_prefix"] = "../../escaped"
    entry = support.wait_for_history(engine, support.post(engine, graph))
    assert entry["status"]["status_str"] == "error"
    assert not list(engine.folder.parent.glob("escaped*"))


def test_view_serves_ranges_previews_and_channels(engine) -> None:
    file = support.files(support.run(engine, support.empty_image(0xFF0000)))[0]
    path = f"/view?filename={file['filename']}"
    whole = support.request(engine, path)
    assert whole.headers["content-disposition"] == f'filename="{file["filename"]}"'
    partial = support.request(engine, path, headers={"Range": "bytes=0-9"})
    assert (partial.status, partial.body) == (206, whole.body[:10])
    same = support.request(engine, path, headers={"If-None-Match": whole.headers["etag"]})
    assert same.status == 304
    assert (
        support.request(engine, path + "&preview=jpeg;50").headers["content-type"] == "image/jpeg"
    )
    assert (
        support.request(engine, path + "&preview=webp;90").headers["content-type"] == "image/webp"
    )
    alpha = Image.open(io.BytesIO(support.request(engine, path + "&channel=a").body))
    assert alpha.mode == "RGBA"
    suffix = support.request(engine, path + "%20[output]&type=input")
    assert suffix.body == whole.body


def test_upload_mask_becomes_alpha_channel_of_original(engine) -> None:
    support.upload(engine, "base.png", _png("red"))
    reference = json.dumps({"filename": "base.png", "type": "input"})
    body = (
        b'--B\r\nContent-Disposition: form-data; name="original_ref"\r\n\r\n'
        + reference.encode()
        + b'\r\n--B\r\nContent-Disposition: form-data; name="image"; filename="m.png"\r\n\r\n'
        + _png("#00000080")
        + b"\r\n--B--\r\n"
    )
    kind = {"Content-Type": "multipart/form-data; boundary=B"}
    response = support.request(engine, "/upload/mask", data=body, headers=kind)
    assert response.json == {"name": "m.png", "subfolder": "", "type": "input"}
    joined = Image.open(io.BytesIO(support.view(engine, {"filename": "m.png", "type": "input"})))
    assert joined.getpixel((0, 0)) == (255, 0, 0, 128)


def test_post_prompt_body_above_limit_returns_413() -> None:
    with DemoServer(max_upload_bytes=2000) as server:
        response = support.request(server, "/prompt", data=b"x" * 3000)
        assert response.status == 413
        assert response.body == b"Maximum request body size 2000 exceeded."


def test_post_prompt_null_extra_data_kills_old_worker_and_fails_on_new_core(engine) -> None:
    graph = support.empty_image()
    body = {"prompt": graph, "extra_data": None}
    assert support.request(engine, "/prompt", json_body=body).status == 500
    with DemoServer(core="0.3.64") as old:
        prompt_id = support.post(old, graph, extra_data=None)
        time.sleep(0.1)
        assert support.request(old, "/queue").json["queue_running"][0][1] == prompt_id


def test_post_prompt_id_without_uuid_form_is_rejected_by_new_core(engine) -> None:
    body = {"prompt": support.empty_image(), "prompt_id": "my-own-id"}
    response = support.request(engine, "/prompt", json_body=body)
    assert response.status == 400
    assert response.json["error"]["type"] == "invalid_prompt_id"
    prompt_id = str(uuid.uuid4())
    assert support.post(engine, support.empty_image(), prompt_id=prompt_id) == prompt_id


def test_queue_route_of_new_core_hides_credentials() -> None:
    with DemoServer(faults=Faults(test_nodes=True)) as server:
        secret = {"api_key_comfy_org": "hush", "extra_pnginfo": {"a": 1}}
        support.post(server, support.sleep_graph(0.3), extra_data=secret)
        text = support.request(server, "/queue").body
        assert b"hush" not in text
        assert b"extra_pnginfo" in text


def test_history_route_pages_and_deletes_entries(engine) -> None:
    ids = [support.post(engine, support.empty_image(n)) for n in range(4)]
    for prompt_id in ids:
        support.wait_for_history(engine, prompt_id)
    assert list(support.request(engine, "/history?max_items=2").json) == ids[-2:]
    assert list(support.request(engine, "/history?max_items=2&offset=1").json) == ids[1:3]
    support.request(engine, "/history", json_body={"delete": [ids[0]]})
    assert list(support.request(engine, "/history").json) == ids[1:]
    support.request(engine, "/history", json_body={"clear": True})
    assert support.request(engine, "/history").json == {}


def test_jobs_api_of_new_core_lists_and_cancels_jobs() -> None:
    with DemoServer(faults=Faults(test_nodes=True)) as server:
        done = support.post(server, support.empty_image())
        support.wait_for_history(server, done)
        running = support.post(server, support.sleep_graph(20))
        pending = support.post(server, support.empty_image(2))
        time.sleep(0.1)
        jobs = support.request(server, "/api/jobs").json
        states = {job["id"]: job["status"] for job in jobs["jobs"]}
        assert states == {done: "completed", running: "in_progress", pending: "pending"}
        assert jobs["pagination"]["total"] == 3
        assert support.request(server, f"/api/jobs/{done}").json["outputs_count"] == 1
        assert support.request(server, f"/api/jobs/{uuid.uuid4()}").status == 404
        assert support.request(server, "/jobs").status == 404
        assert support.request(server, "/api/jobs?status=bogus").status == 400
        for job in (pending, running):
            cancel = support.request(server, f"/api/jobs/{job}/cancel", method="POST")
            assert cancel.json == {"cancelled": True}
        support.wait_for_history(server, running, 5)
        assert support.request(server, f"/api/jobs/{running}").json["status"] == "cancelled"
        again = support.request(server, f"/api/jobs/{running}/cancel", method="POST")
        assert again.json == {"cancelled": False}


def test_jobs_api_of_old_core_returns_404() -> None:
    with DemoServer(core="0.3.64") as server:
        assert support.request(server, "/api/jobs?limit=1").status == 404


def test_post_prompt_invalid_output_is_skipped_and_reported(engine) -> None:
    graph = support.empty_image()
    graph["9"] = {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "x"}}
    graph["8"] = {
        "class_type": "EmptyImage",
        "inputs": {"width": 0, "height": 1, "batch_size": 1, "color": 0},
    }
    response = support.request(engine, "/prompt", json_body={"prompt": graph})
    assert response.status == 200
    assert list(response.json["node_errors"]) == ["8"]
    assert list(support.wait_for_history(engine, response.json["prompt_id"])["outputs"]) == ["2"]


def test_post_prompt_cycle_is_reported_by_new_core(engine) -> None:
    graph = {
        "1": {"class_type": "ImageInvert", "inputs": {"image": ["2", 0]}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    response = support.request(engine, "/prompt", json_body={"prompt": graph})
    assert response.status == 400
    assert "dependency_cycle" in response.body.decode()


def test_userdata_routes_write_list_read_and_delete_files(engine: Any) -> None:
    with httpx.Client(base_url=engine.url) as http:
        assert http.get("/userdata?dir=workflows").status_code == 404
        path = "/api/userdata/workflows%2Fa%20b.json"
        assert http.post(path, content=b"{}").json() == "workflows/a b.json"
        assert http.post(path + "?overwrite=false", content=b"x").status_code == 409
        (listed,) = http.get("/userdata?dir=workflows&recurse=true&full_info=true").json()
        assert (listed["path"], listed["size"]) == ("a b.json", 2)
        assert http.get(path).content == b"{}"
        assert http.get("/userdata/..%2F..%2Fetc%2Fpasswd").status_code == 403
        assert http.delete(path).status_code == 204
        assert http.get(path).status_code == 404


def test_templates_route_serves_files_of_engine_folder(engine: Any) -> None:
    with httpx.Client(base_url=engine.url) as http:
        assert http.get("/templates/index.json").status_code == 404
        folder = engine.folder / "templates"
        folder.mkdir()
        (folder / "index.json").write_text("[]")
        assert http.get("/templates/index.json").json() == []
        assert http.get("/templates/..%2Fuser%2Fx").status_code == 404

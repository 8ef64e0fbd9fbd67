"""HTTP: files in and out, limits, safety; and the newer cores' jobs."""

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
def test_every_route_exists_with_and_without_api(engine, path) -> None:
    assert support.ask(engine, path).json == support.ask(engine, f"/api{path}").json


def test_unknown_paths_and_wrong_methods(engine) -> None:
    unknown = support.ask(engine, "/nosuch")
    assert (unknown.status, unknown.body) == (404, b"")
    assert unknown.headers["content-type"] == "application/octet-stream"
    assert support.ask(engine, "/interrupt").status == 404
    wrong = support.ask(engine, "/prompt", method="DELETE")
    assert wrong.status == 405
    assert "POST" in wrong.headers["allow"]


def test_a_page_from_elsewhere_is_refused(engine) -> None:
    assert support.ask(engine, "/prompt", headers={"Origin": "http://evil.example"}).status == 403
    assert support.ask(engine, "/prompt", headers={"Origin": engine.url}).status == 200


def test_uploads_keep_their_name_unless_bytes_differ(engine) -> None:
    def name(data: bytes, **fields: str) -> str:
        return support.upload(engine, "a.png", data, **fields).json["name"]

    assert name(_png("red")) == "a.png"
    assert name(_png("red")) == "a.png"
    assert name(_png("blue")) == "a (1).png"
    assert name(_png("blue"), overwrite="true") == "a.png"
    assert name(_png("lime"), overwrite="True") == "a (2).png"


def test_an_upload_can_be_seen_and_is_a_choice(engine) -> None:
    answer = support.upload(engine, "füchse 火.png", _png(), subfolder="a/b").json
    assert answer == {"name": "füchse 火.png", "subfolder": "a/b", "type": "input"}
    file = {"filename": answer["name"], "subfolder": "a/b", "type": "input"}
    assert support.view(engine, file) == _png()
    support.upload(engine, "top.png", _png())
    choices = support.ask(engine, "/object_info/LoadImage").json["LoadImage"]["input"]["required"]
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
def test_bad_uploads_are_refused(engine, name, fields, status) -> None:
    assert support.upload(engine, name, _png(), **fields).status == status


def test_nothing_outside_the_folders_can_be_seen(engine) -> None:
    def status(query: str) -> int:
        return support.ask(engine, f"/view?{query}").status

    assert status("filename=nosuch.png") == 404
    assert status("") == 404
    assert status("filename=") == 400
    assert status("filename=..%2F..%2Fpasswd") == 400
    assert status("filename=/etc/passwd") == 400
    assert status("filename=passwd&subfolder=/etc") == 403
    assert status("filename=passwd&subfolder=..%2F..") == 403
    assert status("filename=a.png&type=bogus") == 400
    assert status("filename=a%00b.png") == 404


def test_load_image_reads_nothing_outside_either(engine) -> None:
    graph = support.empty_image()
    graph["1"] = {"class_type": "LoadImage", "inputs": {"image": "/etc/passwd"}}
    answer = support.ask(engine, "/prompt", json_body={"prompt": graph})
    assert answer.status == 400
    error = answer.json["node_errors"]["1"]["errors"][0]
    assert error["type"] == "custom_validation_failed"


def test_a_prefix_cannot_leave_the_output_folder(engine) -> None:
    graph = support.empty_image()
    graph["2"]["inputs"]["filename_prefix"] = "../../escaped"
    entry = support.finished(engine, support.post(engine, graph))
    assert entry["status"]["status_str"] == "error"
    assert not list(engine.folder.parent.glob("escaped*"))


def test_view_serves_ranges_previews_and_channels(engine) -> None:
    file = support.files(support.run(engine, support.empty_image(0xFF0000)))[0]
    path = f"/view?filename={file['filename']}"
    whole = support.ask(engine, path)
    assert whole.headers["content-disposition"] == f'filename="{file["filename"]}"'
    part = support.ask(engine, path, headers={"Range": "bytes=0-9"})
    assert (part.status, part.body) == (206, whole.body[:10])
    same = support.ask(engine, path, headers={"If-None-Match": whole.headers["etag"]})
    assert same.status == 304
    assert support.ask(engine, path + "&preview=jpeg;50").headers["content-type"] == "image/jpeg"
    assert support.ask(engine, path + "&preview=webp;90").headers["content-type"] == "image/webp"
    alpha = Image.open(io.BytesIO(support.ask(engine, path + "&channel=a").body))
    assert alpha.mode == "RGBA"
    suffix = support.ask(engine, path + "%20[output]&type=input")
    assert suffix.body == whole.body


def test_a_mask_becomes_the_alpha_channel_of_its_original(engine) -> None:
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
    answer = support.ask(engine, "/upload/mask", data=body, headers=kind)
    assert answer.json == {"name": "m.png", "subfolder": "", "type": "input"}
    joined = Image.open(io.BytesIO(support.view(engine, {"filename": "m.png", "type": "input"})))
    assert joined.getpixel((0, 0)) == (255, 0, 0, 128)


def test_bodies_above_the_limit_are_refused() -> None:
    with DemoServer(max_upload_bytes=2000) as server:
        answer = support.ask(server, "/prompt", data=b"x" * 3000)
        assert answer.status == 413
        assert answer.body == b"Maximum request body size 2000 exceeded."


def test_extra_data_null_kills_the_old_worker_and_fails_on_a_new_core(engine) -> None:
    graph = support.empty_image()
    body = {"prompt": graph, "extra_data": None}
    assert support.ask(engine, "/prompt", json_body=body).status == 500
    with DemoServer(core="0.3.64") as old:
        prompt_id = support.post(old, graph, extra_data=None)
        time.sleep(0.1)
        assert support.ask(old, "/queue").json["queue_running"][0][1] == prompt_id


def test_prompt_ids_must_be_uuids_on_a_new_core(engine) -> None:
    body = {"prompt": support.empty_image(), "prompt_id": "my-own-id"}
    answer = support.ask(engine, "/prompt", json_body=body)
    assert answer.status == 400
    assert answer.json["error"]["type"] == "invalid_prompt_id"
    mine = str(uuid.uuid4())
    assert support.post(engine, support.empty_image(), prompt_id=mine) == mine


def test_credentials_are_not_shown_by_a_new_core() -> None:
    with DemoServer(faults=Faults(test_nodes=True)) as server:
        secret = {"api_key_comfy_org": "hush", "extra_pnginfo": {"a": 1}}
        support.post(server, support.sleeper(0.3), extra_data=secret)
        text = support.ask(server, "/queue").body
        assert b"hush" not in text
        assert b"extra_pnginfo" in text


def test_histories_can_be_paged_and_deleted(engine) -> None:
    ids = [support.post(engine, support.empty_image(n)) for n in range(4)]
    for prompt_id in ids:
        support.finished(engine, prompt_id)
    assert list(support.ask(engine, "/history?max_items=2").json) == ids[-2:]
    assert list(support.ask(engine, "/history?max_items=2&offset=1").json) == ids[1:3]
    support.ask(engine, "/history", json_body={"delete": [ids[0]]})
    assert list(support.ask(engine, "/history").json) == ids[1:]
    support.ask(engine, "/history", json_body={"clear": True})
    assert support.ask(engine, "/history").json == {}


def test_jobs_of_a_new_core() -> None:
    with DemoServer(faults=Faults(test_nodes=True)) as server:
        done = support.post(server, support.empty_image())
        support.finished(server, done)
        running = support.post(server, support.sleeper(20))
        pending = support.post(server, support.empty_image(2))
        time.sleep(0.1)
        jobs = support.ask(server, "/api/jobs").json
        states = {job["id"]: job["status"] for job in jobs["jobs"]}
        assert states == {done: "completed", running: "in_progress", pending: "pending"}
        assert jobs["pagination"]["total"] == 3
        assert support.ask(server, f"/api/jobs/{done}").json["outputs_count"] == 1
        assert support.ask(server, f"/api/jobs/{uuid.uuid4()}").status == 404
        assert support.ask(server, "/jobs").status == 404
        assert support.ask(server, "/api/jobs?status=bogus").status == 400
        for job in (pending, running):
            cancel = support.ask(server, f"/api/jobs/{job}/cancel", method="POST")
            assert cancel.json == {"cancelled": True}
        support.finished(server, running, 5)
        assert support.ask(server, f"/api/jobs/{running}").json["status"] == "cancelled"
        again = support.ask(server, f"/api/jobs/{running}/cancel", method="POST")
        assert again.json == {"cancelled": False}


def test_the_old_core_has_no_jobs() -> None:
    with DemoServer(core="0.3.64") as server:
        assert support.ask(server, "/api/jobs?limit=1").status == 404


def test_one_wrong_output_is_left_out(engine) -> None:
    graph = support.empty_image()
    graph["9"] = {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "x"}}
    graph["8"] = {
        "class_type": "EmptyImage",
        "inputs": {"width": 0, "height": 1, "batch_size": 1, "color": 0},
    }
    answer = support.ask(engine, "/prompt", json_body={"prompt": graph})
    assert answer.status == 200
    assert list(answer.json["node_errors"]) == ["8"]
    assert list(support.finished(engine, answer.json["prompt_id"])["outputs"]) == ["2"]


def test_a_cycle_is_named_by_a_new_core(engine) -> None:
    graph = {
        "1": {"class_type": "ImageInvert", "inputs": {"image": ["2", 0]}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    answer = support.ask(engine, "/prompt", json_body={"prompt": graph})
    assert answer.status == 400
    assert "dependency_cycle" in answer.body.decode()


def test_user_files_are_written_listed_read_and_deleted(engine: Any) -> None:
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


def test_templates_come_from_the_engines_folder(engine: Any) -> None:
    with httpx.Client(base_url=engine.url) as http:
        assert http.get("/templates/index.json").status_code == 404
        folder = engine.folder / "templates"
        folder.mkdir()
        (folder / "index.json").write_text("[]")
        assert http.get("/templates/index.json").json() == []
        assert http.get("/templates/..%2Fuser%2Fx").status_code == 404

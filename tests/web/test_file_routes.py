from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from comfy_ui.errors import ValidationError
from comfy_ui.storage.records import LibraryItem
from comfy_ui.web.auth.access import COOKIE, Access, AccessMode
from comfy_ui.web.http.file_routes import routes
from comfy_ui.web.http.upload_routes import MAX_UPLOAD_BYTES, UploadRoutes
from tests.web.support import item, picture_bytes, preset


class FakeServices:
    """Library items and uploads in memory."""

    def __init__(self, items: list[LibraryItem]) -> None:
        self.items = items
        self.kept: dict[str, bytes] = {}
        self.signed: str | None = None
        self.folder = items[0].path.parent
        self.library: Any = self
        self.catalog: Any = SimpleNamespace(find=lambda _: preset())

    async def keep_upload(self, name: str, content: bytes, _: str) -> None:
        self.kept[name] = content
        (self.folder / name).write_bytes(content)

    async def user_of(self, item_id: int) -> str | None:
        return next((i.user_id for i in self.items if i.id == item_id and not i.deleted_at), None)

    async def fetch(self, path: Path) -> Path:
        return path

    async def link(self, _: LibraryItem) -> str | None:
        return self.signed

    async def item(self, item_id: int, user_id: str, *, deleted: bool = False) -> LibraryItem:
        for one in self.items:
            if (one.id, one.user_id) == (item_id, user_id) and bool(one.deleted_at) == deleted:
                return one
        raise ValidationError("There is no such result.")


@pytest.fixture
def access() -> Access:
    return Access(AccessMode.SHARED, b"secret")


@pytest.fixture
def services(tmp_path: Path) -> FakeServices:
    path, small = tmp_path / "1", tmp_path / "1.webp"
    path.write_bytes(b"0123456789")
    small.write_bytes(b"small")
    mine = item(id=1, path=path, thumbnail=small, filename="a b ü.png")
    svg = dataclasses.replace(mine, id=2, media_type="image/svg+xml", filename="x.svg")
    gone = dataclasses.replace(mine, id=3, path=tmp_path / "gone", thumbnail=None)
    return FakeServices([mine, svg, gone])


def serve(services: FakeServices, access: Access, *, auth: Any = None) -> TestClient:
    stand_in: Any = services
    app = Starlette(routes=routes(stand_in, access, UploadRoutes(stand_in, access)))
    app.auth, app.tokens, app.cookie_id = auth, {"t": "anna"}, "c"  # type: ignore[attr-defined]
    return TestClient(app)


@pytest.fixture
def client(services: FakeServices, access: Access) -> Iterator[TestClient]:
    cookie = access.new_cookie()
    user_id = f"browser:{access.browser(cookie)}"
    services.items = [dataclasses.replace(one, user_id=user_id) for one in services.items]
    with serve(services, access) as test_client:
        test_client.cookies.set(COOKIE, cookie)
        yield test_client


def test_files_route_returns_unmodified_bytes(client: TestClient) -> None:
    answer = client.get("/files/1")
    assert answer.content == b"0123456789"
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"].startswith("inline")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_files_route_download_keeps_the_file_name(client: TestClient) -> None:
    disposition = client.get("/files/1?download").headers["content-disposition"]
    assert disposition == "attachment; filename*=utf-8''a%20b%20%C3%BC.png"


def test_files_route_download_goes_to_the_signed_link_of_own_results_only(
    services: FakeServices, client: TestClient
) -> None:
    services.signed = "https://s3.example/1?signature"
    answer = client.get("/files/1?download", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, services.signed)
    assert answer.headers["cache-control"] == "no-store"
    assert client.get("/files/1").content == b"0123456789"  # shown in the page
    assert client.get("/files/99?download", follow_redirects=False).status_code == 404


def test_files_route_range_request_returns_partial_content(client: TestClient) -> None:
    answer = client.get("/files/1", headers={"Range": "bytes=2-4"})
    assert (answer.status_code, answer.content) == (206, b"234")


def test_files_route_svg_is_sent_as_sandboxed_attachment(client: TestClient) -> None:
    assert client.get("/files/2").headers["content-disposition"].startswith("attachment")
    assert "sandbox" in client.get("/files/2").headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/files/3", "/thumbs/3", "/files/99", "/thumbs/99", "/covers/x"])
def test_file_routes_missing_file_is_404(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/files/1", "/thumbs/1"])
def test_file_routes_item_of_another_browser_is_404(
    services: FakeServices, access: Access, client: TestClient, path: str
) -> None:
    assert client.get(path).status_code == 200
    other = serve(services, access)
    assert other.get(path).status_code == 404
    other.cookies.set(COOKIE, access.new_cookie())
    assert other.get(path).status_code == 404


def test_file_key_opens_one_item_and_names_no_user(
    client: TestClient, services: FakeServices, access: Access
) -> None:
    user_id = services.items[0].user_id
    key = access.file_key(1, user_id)
    parts = [key, *(base64.urlsafe_b64decode(part + "==") for part in key.split("."))]
    assert not any(user_id[8:24] in str(part) for part in parts)
    old_key = access._old_files.dumps([1, user_id])
    with serve(services, access) as other:
        assert other.get(f"/files/1?key={key}").content == b"0123456789"
        assert other.get(f"/files/1?key={old_key}").content == b"0123456789"
        for path in (
            f"/files/2?key={key}",
            f"/files/2?key={old_key}",
            "/files/1?key=",
            "/files/1?key=%ff",
        ):
            assert other.get(path).status_code == 404


def test_file_routes_deleted_item_is_served_to_its_user_but_not_by_its_key(
    client: TestClient, services: FakeServices, access: Access
) -> None:
    services.items = [dataclasses.replace(one, deleted_at=1.0) for one in services.items]
    user_id = services.items[0].user_id
    assert client.get("/thumbs/1").content == b"small"
    assert client.get("/files/1").content == b"0123456789"
    key = access.file_key(1, user_id)
    with serve(services, access) as other:
        assert other.get("/files/1", params={"key": key}).status_code == 404


@pytest.mark.parametrize("path", ["/files/1", "/thumbs/1", "/covers/test"])
def test_file_routes_with_accounts_require_a_login(
    services: FakeServices, access: Access, path: str
) -> None:
    guarded = serve(services, access, auth=object())
    for answer in (guarded.get(path), guarded.post("/uploads", content=b"x")):
        assert answer.status_code == 422
        assert "Log in first" in answer.json()["error"]


def test_uploads_route_stores_the_file_under_a_new_name(
    client: TestClient, services: FakeServices
) -> None:
    answer = client.post("/uploads?role=image", content=picture_bytes("PNG"))
    name = answer.json()["name"]
    assert services.kept == {name: picture_bytes("PNG")}
    assert name.endswith(".png")


def test_uploads_route_invalid_image_is_refused_with_message(
    client: TestClient, services: FakeServices
) -> None:
    answer = client.post("/uploads?role=image", content=b"<svg onload=alert(1)>")
    assert answer.status_code == 422
    assert "image cannot be used" in answer.json()["error"]
    assert services.kept == {}


def test_uploads_route_file_above_size_limit_is_refused(
    client: TestClient, services: FakeServices
) -> None:
    answer = client.post("/uploads", content=b"x" * (MAX_UPLOAD_BYTES + 1))
    assert "larger than" in answer.json()["error"]
    assert services.kept == {}


def test_uploads_route_cross_site_request_is_403(client: TestClient) -> None:
    answer = client.post("/uploads", content=b"x", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403


def test_uploads_canvas_route_paints_and_returns_the_strokes(
    client: TestClient, services: FakeServices
) -> None:
    services.uploads = SimpleNamespace(path=lambda name: services.folder / name)
    name = client.post("/uploads", content=picture_bytes("PNG")).json()["name"]
    mask = {"mask": ("mask.png", picture_bytes("PNG"))}
    fields = {"over": name, "strokes": '{"ops": []}', "feather": "1"}
    inside = client.post("/uploads/canvas", data=fields, files=mask).json()
    assert inside["mask"] == ""
    assert client.get(f"/uploads/{inside['name']}?layer=strokes").json() == {"ops": []}
    assert client.get(f"/uploads/{name}?layer=strokes").json() is None
    separate = client.post(
        "/uploads/canvas", data={**fields, "separate": "true"}, files=mask
    ).json()
    assert separate["mask"] in services.kept
    for wrong in ({"over": "photo.png"}, {"over": name, "feather": "9999"}, {}):
        answer = client.post("/uploads/canvas", data=wrong, files=mask)
        assert answer.status_code == 422, wrong
        assert answer.json()["error"]

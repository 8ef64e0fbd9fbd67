"""The caches for responses that are the same for many users."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from comfy_ui.web.auth.access import Access, AccessMode
from comfy_ui.web.http.response_cache import FileCache, PageCache
from comfy_ui.web.http.security_headers import script_hash

SCRIPT = "alert(1)\n// é"
FIRST = "first()"
PAGE = (
    f"<head></head><script>{SCRIPT}</script><script type=module src=x></script>"
    + "<p>text</p>" * 100
)
SERVED_PAGE = PAGE.replace("<head>", f"<head><script>{FIRST}</script>")


def config_of(*numbers: int) -> dict[str, Any]:
    """Gradio's config of a page with a button (1) and an endpoint of programs (2)."""
    components = [{"id": 1, "type": "button", "value": "</script>"}, {"id": 2, "type": "api"}]
    events = [{"id": 1, "targets": [[1, "click"]]}, {"id": 2, "targets": []}]
    layout = {"id": 0, "children": [{"id": number} for number in numbers]}
    page = {"layout": layout, "components": [*numbers], "dependencies": [*numbers]}
    return {
        "components": [part for part in components if part["id"] in numbers],
        "dependencies": [event for event in events if event["id"] in numbers],
        "layout": layout,
        "page": {"": page},
    }


def assigned(name: str, value: Any) -> str:
    text = json.dumps(value).replace("<", "\\u003c")
    return f"<script>window.{name} = {text};</script>"


class Site:
    """An app behind the caches, which counts the requests that reach it."""

    def __init__(self, *, delay_s: float = 0.0, **options: Any) -> None:
        self.counts: Counter[str] = Counter()
        self._delay_s = delay_s
        access = Access(AccessMode.SHARED, b"s")
        paths: dict[str, Callable[[Request], Response]] = {
            "/": lambda request: HTMLResponse(f"{PAGE} {request.headers['host']}"),
            "/config": lambda request: JSONResponse({"root": request.headers["host"]}),
            "/assets/index-DphvyggB.js": lambda _: PlainTextResponse("x" * 2000),
            "/assets/plain.js": lambda _: PlainTextResponse("x" * 2000),
            "/assets/large.bin": lambda _: Response(b"x" * 5_000_000),
            "/assets/picture.png": lambda _: Response(b"x" * 900, media_type="image/png"),
            "/assets/shown.txt": lambda request: PlainTextResponse(
                " ".join(sorted(request.headers)), headers={"x-frame-options": "SAMEORIGIN"}
            ),
            "/theme.css": lambda request: PlainTextResponse(str(request.url.query)),
            "/other": lambda _: PlainTextResponse("x"),
        }
        scripts = {"first_script": FIRST, "script_path": "assets/page-1.js"}
        middleware = [
            Middleware(FileCache, **options),
            Middleware(PageCache, access=access, **scripts, **options),
        ]
        routes = [Route(path, self._counted(make)) for path, make in paths.items()]
        self.app = Starlette(routes=routes, middleware=middleware)
        self.app.tokens, self.app.cookie_id = {"anna": "anna"}, "c"  # type: ignore[attr-defined]

    def _counted(self, make: Callable[[Request], Response]) -> Any:
        async def respond(request: Request) -> Response:
            self.counts[request.url.path] += 1
            await asyncio.sleep(self._delay_s)
            return make(request)

        return respond

    def client(self, encoding: str = "gzip") -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=self.app)
        headers = {"accept-encoding": encoding}
        return httpx.AsyncClient(transport=transport, base_url="http://a", headers=headers)


async def test_response_cache_page_is_built_once_with_a_policy_of_its_script_hashes() -> None:
    site = Site()
    async with site.client() as client:
        pages = [await client.get("/?__theme=dark") for _ in range(3)]
        plain = await client.get("/", headers={"accept-encoding": ""})
    assert site.counts["/"] == 1
    for page in pages:
        assert page.text == plain.text == f"{SERVED_PAGE} a"
        assert page.headers["content-encoding"] == "gzip"
        sources = page.headers["content-security-policy"].split("; ")[1].split()
        hashes = [f"'{script_hash(script)}'" for script in (FIRST, SCRIPT)]
        assert sources == ["script-src", "'self'", *hashes, "'unsafe-eval'"]
        assert page.headers["cache-control"] == "private, no-cache"


async def test_response_cache_page_has_no_endpoints_of_programs() -> None:
    information = {"named_endpoints": {"/generate": {}}, "unnamed_endpoints": {}}
    scripts = assigned("gradio_config", config_of(1, 2)) + assigned("gradio_api_info", information)
    app = Starlette(routes=[Route("/", lambda _: HTMLResponse(f"<head></head>{scripts}<p>"))])
    cache = PageCache(app, Access(AccessMode.SHARED, b"s"), first_script="", script_path="x.js")
    app.tokens, app.cookie_id = {}, "c"  # type: ignore[attr-defined]

    async def with_app(scope: Any, receive: Any, send: Any) -> None:
        await cache({**scope, "app": app}, receive, send)

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=with_app), base_url="http://a"
    ) as client:
        page = (await client.get("/")).text
    config, left = re.findall(r"<script>window\.\w+ = (.*?);</script>", page)
    assert json.loads(config) == config_of(1)
    assert json.loads(left) == {"named_endpoints": {}, "unnamed_endpoints": {}}
    assert page.startswith('<head><script></script><script defer src="x.js"></script></head>')
    assert page.endswith("</script><p>")


async def test_response_cache_page_that_a_browser_has_is_304_with_its_policy() -> None:
    async with Site().client() as client:
        first = await client.get("/")
        again = await client.get("/", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["content-security-policy"] == first.headers["content-security-policy"]


async def test_response_cache_keeps_addresses_logins_and_deep_links_apart() -> None:
    site = Site()
    async with site.client() as client:
        texts = {(await client.get("/config", headers={"host": host})).text for host in "abcab"}
        assert site.counts["/config"] == len(texts) == 3
        await client.get("/config", headers={"cookie": "access-token-c=anna", "host": "a"})
        assert site.counts["/config"] == 4
        for _ in range(2):
            await client.get("/?deep_link=x")
    assert site.counts["/"] == 2


async def test_response_cache_files_stay_in_the_browser() -> None:
    site = Site()
    async with site.client() as client:
        named = [await client.get("/assets/index-DphvyggB.js") for _ in range(2)]
        plain = await client.get("/assets/plain.js", headers={"range": "bytes=0-9"})
        picture = await client.get("/assets/picture.png")
    assert site.counts["/assets/index-DphvyggB.js"] == 1
    assert named[1].headers["cache-control"] == "public, max-age=31536000, immutable"
    assert len(named[1].content) == 2000
    assert int(named[1].headers["content-length"]) < 100
    assert plain.status_code == 200
    assert plain.headers["cache-control"] == "public, max-age=86400"
    assert len(plain.content) == 2000
    assert "content-encoding" not in picture.headers


async def test_response_cache_file_has_the_security_headers_and_nothing_of_its_first_client() -> (
    None
):
    secrets = {"cookie": "a=b", "authorization": "Bearer c", "if-none-match": "x"}
    async with Site().client() as client:
        first = await client.get("/assets/shown.txt", headers=secrets)
        again = await client.get("/assets/shown.txt")
    assert first.text == again.text == "connection host user-agent"
    assert again.headers["x-frame-options"] == "SAMEORIGIN"
    assert again.headers.get_list("content-length") == [str(len(again.content))]


async def test_response_cache_file_requests_with_a_body_pass_through() -> None:
    site = Site()
    async with site.client() as client:
        for _ in range(2):
            await client.request("GET", "/assets/plain.js", content=b"x")
    assert site.counts["/assets/plain.js"] == 2


async def test_response_cache_errors_large_files_and_other_paths_pass_through() -> None:
    site = Site()
    async with site.client() as client:
        for _ in range(2):
            assert (await client.get("/assets/nothing.js")).status_code == 404
            assert len((await client.get("/assets/large.bin")).content) == 5_000_000
            assert (await client.get("/other")).text == "x"
            assert (await client.post("/")).status_code == 405
    assert site.counts["/other"] == 2


async def test_response_cache_first_requests_at_once_share_one_load_even_if_one_hangs_up() -> None:
    site = Site(delay_s=0.05)
    async with site.client() as client:
        requests = [asyncio.create_task(client.get("/")) for _ in range(20)]
        await asyncio.sleep(0.01)
        requests[0].cancel()
        pages = await asyncio.gather(*requests[1:])
    assert {page.status_code for page in pages} == {200}
    assert site.counts["/"] == 1


@pytest.mark.parametrize("most_bytes", [0, 150])
async def test_response_cache_full_drops_the_response_used_longest_ago(most_bytes: int) -> None:
    site = Site(most_bytes=most_bytes)
    size = len(gzip.compress(f"{SERVED_PAGE} a".encode(), 9))
    assert 75 < size < 150
    async with site.client() as client:
        for host in "aab":
            assert (await client.get("/", headers={"host": host})).text == f"{SERVED_PAGE} {host}"
        await client.get("/", headers={"host": "b"})
    assert site.counts["/"] == (2 if most_bytes else 4)

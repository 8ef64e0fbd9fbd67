"""A Space with Hugging Face logins, over a fake Hugging Face."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from comfy_ui.web.auth.oauth import provider_of
from tests.security.fake_hub import CLIENT, FakeHub, fake_hub
from tests.security.support import GRADIO, PageClient, call_every_handler, handlers, served

pytestmark = GRADIO


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeHub]:
    with fake_hub() as fake:
        yield fake


@pytest.fixture(scope="module")
def space(
    tmp_path_factory: pytest.TempPathFactory, provider: FakeHub, patch: pytest.MonkeyPatch
) -> Iterator[Any]:
    with patch.context() as patched:
        for name, value in provider.environment("Ann").items():
            patched.setenv(name, value)
        with served(tmp_path_factory.mktemp("space"), patch, users=False) as page:
            yield page


@pytest.fixture
def open_browser(space: Any) -> Iterator[Callable[[], Browser]]:
    """Open new browsers."""
    with ExitStack() as stack:

        def new_browser() -> Browser:
            browser = Browser(space)
            stack.callback(browser.client.close)
            return browser

        yield new_browser


class Browser:
    """Keeps cookies like a browser at an https Space."""

    def __init__(self, page: Any) -> None:
        self.home = f"http://127.0.0.1:{page.server_port}"
        self.client = httpx.Client(base_url=self.home, timeout=30, trust_env=False)
        self.cookies: dict[str, str] = {}
        self.person = PageClient(self.client)
        self.get("/")

    def get(self, url: str) -> httpx.Response:
        """Get a page without following redirects, and keep its cookies."""
        answer = self.client.get(url, headers={"accept": "text/html"})
        for line in answer.headers.get_list("set-cookie"):
            (name, _, value), *rest = (part.strip().partition("=") for part in line.split(";"))
            self.cookies[name] = value
            if ("expires", "=", "Thu, 01 Jan 1970 00:00:00 GMT") in rest:
                del self.cookies[name]
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        self.client.headers["cookie"] = cookies
        return answer

    def log_in(self) -> httpx.Response:
        redirect = self.get("/login/huggingface")
        assert redirect.status_code == 302
        back = httpx.get(redirect.headers["location"], trust_env=False)
        return self.get(back.headers["location"])

    def make(self, prompt: str) -> dict[str, Any]:
        values = {"steps": 4, "width": 384, "height": 384}
        last: dict[str, Any] = self.person.call("generate", "sd15", prompt, values)[-1]
        return last

    def sees(self, text: str) -> bool:
        return text in self.client.get("/library").text

    def is_admin(self) -> bool:
        graph = {"1": {"class_type": "EmptyImage", "inputs": {}}}
        return "Only admins" not in str(self.person.call("run_workflow", graph, None)[-1])


def test_oauth_login_shows_own_items_on_another_device(
    open_browser: Any, provider: FakeHub
) -> None:
    provider.user_name = "bob"
    first, second, other = open_browser(), open_browser(), open_browser()
    assert first.log_in().headers["location"] == "/"
    job = first.make("by bob after login")
    assert job["phase"] == "succeeded"
    assert not second.sees("by bob")
    second.log_in()
    assert second.sees("by bob")
    (file,) = job["files"]
    address = file["url"].partition("?")[0]
    assert second.client.get(address).status_code == 200
    provider.user_name = "carl"
    other.log_in()
    assert not other.sees("by bob")
    assert other.client.get(address).status_code in {404, 422}
    assert not first.is_admin()


def test_oauth_login_of_the_space_author_is_admin(open_browser: Any, provider: FakeHub) -> None:
    provider.user_name = "ann"  # Hugging Face names are case-insensitive
    browser = open_browser()
    assert not browser.is_admin()
    browser.log_in()
    assert browser.is_admin()


def test_handlers_on_a_space_check_access_first(
    space: Any, open_browser: Any, provider: FakeHub, record_property: Callable[[str, object], None]
) -> None:
    provider.user_name = "mallory"
    anonymous, member = open_browser(), open_browser()
    member.log_in()
    for browser in (anonymous, member):
        assert call_every_handler(space, browser.person) >= {"free_memory", "open_workflow"}
    record_property("handlers called as a user", 2 * len(handlers(space)))


def test_space_without_login_separates_users_by_browser(open_browser: Any) -> None:
    one, two = open_browser(), open_browser()
    one.make("by a user without a name")
    assert one.sees("without a name")
    assert not two.sees("without a name")


def test_oauth_logout_ends_the_login(open_browser: Any, provider: FakeHub) -> None:
    provider.user_name = "dora"
    browser = open_browser()
    browser.log_in()
    browser.make("by dora")
    assert browser.get("/logout").headers["location"] == "/"
    assert "comfy_ui_login" not in browser.cookies
    assert not browser.sees("by dora")
    browser.log_in()
    assert browser.sees("by dora")


def test_oauth_expired_login_is_ignored(open_browser: Any, provider: FakeHub) -> None:
    provider.user_name, provider.token_lifetime_s = "ann", -10.0
    browser = open_browser()
    try:
        browser.log_in()
    finally:
        provider.token_lifetime_s = 3600.0
    assert "comfy_ui_login" in browser.cookies
    assert not browser.is_admin()


@pytest.mark.parametrize("answer", ["?code=x&state=forged", "?code=x", "", "?state=&code="])
def test_oauth_callback_with_invalid_state_is_403(open_browser: Any, answer: str) -> None:
    browser = open_browser()
    for login_started in (False, True):
        if login_started:
            browser.get("/login/huggingface")
        response = browser.get(f"/login/callback{answer}")
        assert response.status_code == 403
        assert "comfy_ui_login" not in browser.cookies


def test_oauth_callback_with_state_of_another_browser_is_403(
    open_browser: Any, provider: FakeHub
) -> None:
    """Otherwise an attacker could log others in to the attacker's account and see their items."""
    provider.user_name = "eve"
    attacker, victim = open_browser(), open_browser()
    redirect = attacker.get("/login/huggingface")
    back = httpx.get(redirect.headers["location"], trust_env=False).headers["location"]
    victim.get("/login/huggingface")
    assert victim.get(back).status_code == 403
    assert "comfy_ui_login" not in victim.cookies


def test_oauth_denied_access_shows_no_text_of_the_provider(
    open_browser: Any, provider: FakeHub
) -> None:
    provider.denies_access = True
    try:
        response = open_browser().log_in()
    finally:
        provider.denies_access = False
    assert response.status_code == 403
    assert "try again" in response.text
    assert "said no" not in response.text
    assert response.headers["content-type"].startswith("text/plain")


def test_oauth_id_token_with_wrong_signature_is_403(open_browser: Any, provider: FakeHub) -> None:
    provider.signs_with_wrong_key, provider.user_name = True, "ann"
    try:
        response = open_browser().log_in()
    finally:
        provider.signs_with_wrong_key = False
    assert response.status_code == 403


def test_oauth_cookie_is_signed_and_contains_no_token(open_browser: Any, provider: FakeHub) -> None:
    provider.user_name = "finn"
    browser = open_browser()
    answer = browser.log_in()
    (line,) = [c for c in answer.headers.get_list("set-cookie") if c.startswith("comfy_ui_login")]
    for part in ("httponly", "samesite=none", "secure"):
        assert part in line.lower()
    content, _, signature = browser.cookies["comfy_ui_login"].partition(".")
    session = json.loads(base64.b64decode(content))
    assert set(session) == {"login"}
    assert set(session["login"]) == {"name", "until"}
    session["login"]["name"] = "ann"
    forged = base64.b64encode(json.dumps(session).encode()).decode()
    browser.client.headers["cookie"] = f"comfy_ui_login={forged}.{signature}"
    assert not browser.is_admin()


def test_page_header_offers_login_then_logout(open_browser: Any, provider: FakeHub) -> None:
    provider.user_name = "<b>gus</b>"
    browser = open_browser()
    assert "login/huggingface" in browser.client.post("/page", json={}).text
    browser.log_in()
    html = browser.client.post("/page", json={}).text
    assert "Log out &lt;b&gt;gus" in html
    assert "<b>gus" not in html


def test_oauth_cross_site_logout_is_403(open_browser: Any) -> None:
    answer = open_browser().client.get("/logout", headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403


def test_provider_of_requires_every_space_variable() -> None:
    environment = FakeHub("https://hub.example").environment("ann")
    provider = provider_of(environment)
    assert provider is not None
    assert urlsplit(provider.url).hostname == "hub.example"
    assert CLIENT[1] not in repr(provider)
    for name in ("SPACE_ID", "OPENID_PROVIDER_URL", "OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET"):
        assert provider_of({**environment, name: ""}) is None
    hosts = provider_of({**environment, "SPACE_HOST": "ann-comfy.hf.space,pictures.example"})
    assert hosts is not None
    assert hosts.host == "ann-comfy.hf.space"

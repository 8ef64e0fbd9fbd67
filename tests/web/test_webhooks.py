"""Webhooks: signed, durable, sent again until accepted, and kept out of private networks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from comfy_ui.client.transfer.web_files import PostAnswer, post_to_web
from comfy_ui.errors import ValidationError
from comfy_ui.storage.database import Database
from comfy_ui.storage.records import Job, JobStatus, Webhook, WebhookTarget
from comfy_ui.storage.sqlite_webhook_store import SqliteWebhookStore
from comfy_ui.storage.tables import jobs_table
from comfy_ui.web.auth.access import COOKIE, Access, AccessMode
from comfy_ui.web.webhooks.webhook_message import (
    checked_url,
    message_headers,
    next_attempt_at,
    secret_of,
    webhook_target,
)
from comfy_ui.web.webhooks.webhook_sender import WebhookSender
from tests.client.names import names
from tests.client.support import ScriptedServer, response
from tests.conftest import ROOT
from tests.jobs.support import a_job

HOOK = WebhookTarget("https://hook.example/a", "https://gpu.example/comfy")
ACCESS = Access(AccessMode.SHARED, b"0" * 32)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Database]:
    database = Database(folder)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def end(database: Database, job: Job, status: JobStatus = JobStatus.SUCCEEDED) -> None:
    await database.run(jobs_table.insert, job)
    for step in (JobStatus.SENT, status, status):
        await database.run(jobs_table.update, replace(job, status=step, finished_at=50.0))


class Receiver:
    """Answers the messages of a :class:`WebhookSender`, whose clock it holds."""

    def __init__(self, database: Database, *answers: PostAnswer) -> None:
        self.now = 100.0
        self.messages: list[tuple[str, bytes, dict[str, str], bool]] = []
        self._answers = [*answers]
        self.store = SqliteWebhookStore(database)
        self.sender = WebhookSender(
            lambda: self.store,
            self.report,
            lambda user_id, version: secret_of(ACCESS, user_id, version),
            private_hosts=lambda: ["n8n.lan"],
            post=self.post,
            now=lambda: self.now,
        )

    async def report(self, job_id: str, user_id: str, base: str) -> dict[str, Any]:
        return {"job": job_id, "user": user_id, "base": base, "at": self.now}

    def post(self, url: str, content: bytes, headers: Any, *, private: bool) -> PostAnswer:
        self.messages.append((url, content, headers, private))
        return self._answers.pop(0) if self._answers else PostAnswer(204)

    async def send(self) -> None:
        await self.sender.start_due()
        await self.sender.finish()


@pytest.mark.parametrize(
    "status", [JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.LOST]
)
async def test_webhook_deliveries_are_stored_with_each_end_of_a_job(
    tmp_path: Path, status: JobStatus
) -> None:
    async with opened(tmp_path) as database:
        store = SqliteWebhookStore(database)
        await store.set_webhook("ann", WebhookTarget("https://hook.example/user", "http://here"))
        await end(database, a_job("ann", webhook=HOOK), status)
        await end(database, a_job("bob"), status)
        deliveries = await store.recent("ann", 9)
        assert {d.url for d in deliveries} == {HOOK.url, "https://hook.example/user"}
        assert {d.event for d in deliveries} == {f"job.{status}"}
        assert await store.recent("bob", 9) == []


async def test_webhook_of_a_job_and_its_user_at_one_address_is_called_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as database:
        await SqliteWebhookStore(database).set_webhook("ann", HOOK)
        await end(database, a_job("ann", webhook=HOOK))
        assert len(await SqliteWebhookStore(database).recent("ann", 9)) == 1


async def test_webhook_senders_of_two_apps_send_a_message_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as database:
        one, other = Receiver(database), Receiver(database)
        await end(database, a_job("ann", webhook=HOOK))
        await one.sender.start_due()
        await other.sender.start_due()
        await one.sender.finish()
        await other.sender.finish()
        assert len(one.messages) + len(other.messages) == 1


async def test_webhook_sender_signs_as_standard_webhooks_verify(tmp_path: Path) -> None:
    job = a_job("ann", webhook=HOOK)
    async with opened(tmp_path) as database:
        receiver = Receiver(database)
        await end(database, job)
        await receiver.send()
        (delivery,) = await receiver.store.recent("ann", 9)
    ((url, body, headers, private),) = receiver.messages
    assert (url, private) == (HOOK.url, False)
    content = json.loads(body)
    assert content["type"] == "job.succeeded"
    assert content["data"] == {"job": job.id, "user": "ann", "base": HOOK.base, "at": 100.0}
    key = base64.b64decode(secret_of(ACCESS, "ann", 1).removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{digest}"
    assert headers["webhook-timestamp"] == "100"
    assert (delivery.status, delivery.error, delivery.next_at) == (204, None, None)


async def test_webhook_sender_retries_the_same_message_until_it_is_accepted(tmp_path: Path) -> None:
    down = PostAnswer(problem="No connection")
    busy = PostAnswer(503, "Answered with 503", retry_after_s=900)
    async with opened(tmp_path) as database:
        receiver = Receiver(database, down, busy)
        await end(database, a_job("ann", webhook=HOOK))
        for wait_s, count in ((0, 1), (9, 1), (1.5, 2), (899, 2), (2, 3), (90_000, 3)):
            receiver.now += wait_s
            await receiver.send()
            assert len(receiver.messages) == count, wait_s
    assert len({(body, headers["webhook-id"]) for _, body, headers, _ in receiver.messages}) == 1
    assert len({headers["webhook-signature"] for _, _, headers, _ in receiver.messages}) == 3


async def test_webhook_delivery_survives_a_restart_and_is_sent_again_on_request(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as database:
        await end(database, a_job("ann", webhook=HOOK))
    async with opened(tmp_path) as database:
        receiver = Receiver(database, PostAnswer(410, "Answered with 410"))
        await receiver.send()
        (failed,) = await receiver.store.recent("ann", 9)
        assert (failed.error, failed.next_at) == ("Answered with 410", None)
        assert not await receiver.store.send_again(failed.id, "bob", receiver.now)
        assert await receiver.store.send_again(failed.id, "ann", receiver.now)
        assert not await receiver.store.send_again(failed.id, "ann", receiver.now)  # is due
        await receiver.send()
        (accepted,) = await receiver.store.recent("ann", 9)
    assert (accepted.status, accepted.error) == (204, None)
    assert len(receiver.messages) == 2


async def test_webhook_sender_sends_two_of_one_user_at_a_time(tmp_path: Path) -> None:
    async with opened(tmp_path) as database:
        receiver = Receiver(database)
        for user_id in ("ann", "ann", "ann", "bob"):
            await end(database, a_job(user_id, webhook=HOOK))
        await receiver.send()
        assert len(receiver.messages) == 3
        await receiver.send()
        assert len(receiver.messages) == 4


async def test_webhook_secret_renewed_signs_differently(tmp_path: Path) -> None:
    async with opened(tmp_path) as database:
        store = SqliteWebhookStore(database)
        await store.set_webhook("ann", HOOK)
        await store.renew_secret("ann")
        await store.renew_secret("bob")
        assert await store.webhook("ann") == Webhook(HOOK.url, 3 - 1)
        assert await store.webhook("bob") == Webhook("", 2)
    secrets = {secret_of(ACCESS, *who) for who in (("ann", 1), ("ann", 2), ("bob", 2))}
    assert len(secrets) == 3


def test_next_attempt_at_backs_off_over_two_days() -> None:
    *waits, last = [next_attempt_at(attempt, 500, 0.0) for attempt in range(1, 10)]
    assert last is None
    assert waits == sorted(wait for wait in waits if wait)
    assert 86400 < sum(wait for wait in waits if wait) < 3 * 86400


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "ftp://x.example/",
        "//x.example",
        "http://",
        "http://a@b.example/",
        "http://[::1",
        "http://a.example/ b",
        "http://a.example/\0",
        f"http://a.example/{'x' * 2000}",
    ],
)
def test_checked_url_refuses_what_is_no_address(url: str) -> None:
    with pytest.raises(ValidationError, match="no address"):
        checked_url(url)


def _request(cookie: str = "") -> Request:
    app = SimpleNamespace(auth=None, tokens={}, cookie_id="x")
    headers = [(b"host", b"gpu.example")] + ([(b"cookie", cookie.encode())] if cookie else [])
    return Request(
        {
            "type": "http",
            "app": app,
            "scheme": "https",
            "path": "/",
            "root_path": "/comfy",
            "headers": headers,
            "query_string": b"",
            "server": ("gpu.example", 443),
        }
    )


async def test_webhook_target_needs_a_caller_who_can_be_told_apart() -> None:
    access = Access(AccessMode.SHARED, b"0" * 32)
    with pytest.raises(ValidationError, match="login or an API key"):
        await webhook_target(access, _request(), HOOK.url)
    target = await webhook_target(access, _request(f"{COOKIE}={access.new_cookie()}"), HOOK.url)
    assert target == HOOK
    assert await webhook_target(access, _request(), "") is None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "hook.example", "[::ffff:127.0.0.1]"])
def test_post_to_web_of_this_machine_is_refused_under_any_name(host: str) -> None:
    with ScriptedServer(lambda _: response(b"private")) as server, names() as dns:
        dns.say("hook.example", ["127.0.0.1"])
        answer = post_to_web(f"http://{host}:{server.port}/a", b"{}", {})
        assert answer == PostAnswer(problem="No connection")
        assert server.requests == []


def test_post_to_web_reaches_private_hosts_if_allowed_but_no_metadata_service() -> None:
    with ScriptedServer(lambda _: response(b"")) as server:
        url = f"http://127.0.0.1:{server.port}/a"
        assert post_to_web(url, b"{}", {}, private=True).status == 200
        assert len(server.requests) == 1
    assert post_to_web("http://169.254.169.254/", b"{}", {}, private=True).problem


def _replying(reply: Callable[[], httpx.Response]) -> httpx.MockTransport:
    return httpx.MockTransport(lambda _: reply())


def test_post_to_web_does_not_follow_redirects() -> None:
    moved = _replying(lambda: httpx.Response(302, headers={"location": "http://10.0.0.1/"}))
    answer = post_to_web("https://hook.example/", b"{}", {}, transport=moved)
    assert answer == PostAnswer(302, "Answered with 302")


def test_post_to_web_reads_retry_after_in_seconds() -> None:
    busy = _replying(lambda: httpx.Response(429, headers={"retry-after": "30"}))
    assert post_to_web("https://hook.example/", b"{}", {}, transport=busy).retry_after_s == 30


def test_documented_check_of_a_message_accepts_genuine_ones_only() -> None:
    text = (ROOT / "docs" / "use" / "programs.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(import base64.*?)```", text, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    delivery: Any = SimpleNamespace(job_id="j", id=3)
    secret = secret_of(ACCESS, "ann", 1)
    headers = message_headers(delivery, "{}", secret, time.time())
    assert names["is_genuine"](headers, b"{}", secret)
    assert not names["is_genuine"](headers, b"{ }", secret)
    assert not names["is_genuine"](headers, b"{}", secret_of(ACCESS, "ann", 2))
    old = message_headers(delivery, "{}", secret, time.time() - 3600)
    assert not names["is_genuine"](old, b"{}", secret)


def test_message_headers_hold_no_user() -> None:
    delivery: Any = SimpleNamespace(job_id="", id=3)
    headers = message_headers(delivery, "{}", secret_of(ACCESS, "ann", 1), 1.0)
    assert headers["webhook-id"] == "msg_test_3"
    assert "ann" not in str(headers)

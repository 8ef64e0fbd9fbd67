"""Several apps behind a real nginx: one login, and a page that survives the death of its app."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from comfy_ui.scale import postgres_migrations
from tests.browser import support
from tests.browser.nginx import running_nginx, scale_conf
from tests.browser.support import generate, set_field, slowly
from tests.scale.postgres_server import PostgresServer

pytestmark = pytest.mark.browser

LOGIN = ("anna", "anna's password")
PERCENT_JS = "() => document.querySelector('#stage .percent')?.textContent ?? ''"
PROMPT = "#prompt textarea"


@dataclass
class Cluster:
    """Two apps, with their processes by address, behind ``url``."""

    url: str
    apps: dict[str, Any]
    environment: dict[str, str]
    """Of the apps, for commands."""

    @property
    def addresses(self) -> list[str]:
        return [f"http://{address}" for address in self.apps]


def _inherited() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("COMFY", "GRADIO"))}


@contextmanager
def running_worker(folder: Path, server: str, environment: dict[str, str]) -> Iterator[None]:
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "comfy_ui", "worker", "--server", server, "--drain", "1"],
            env={**_inherited(), **environment},
            cwd=support.ROOT,
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def new_database(server: PostgresServer) -> str:
    """Create a database in a thread: Playwright keeps an event loop running in this one."""
    name = f"replicas_{uuid.uuid4().hex}"

    async def create() -> None:
        await server.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        await postgres_migrations.upgrade(server.url(name))

    thread = threading.Thread(target=lambda: asyncio.run(create()))
    thread.start()
    thread.join()
    return server.url(name)


@pytest.fixture(scope="module")
def cluster(
    postgres: PostgresServer, painter: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Two apps with a login, a worker, and nginx, with the configuration that users get."""
    folder = tmp_path_factory.mktemp("replicas")
    environment = {
        "COMFY_UI_DATABASE": new_database(postgres),
        "COMFY_UI_WORKERS": "external",
        "COMFY_UI_AUTH": ":".join(LOGIN),
        "COMFY_UI_TRUSTED_PROXIES": "127.0.0.1",
        "COMFYUI_URL": painter.url,
    }
    data = {"COMFY_UI_DATA_DIR": str(folder / "data")}
    with ExitStack() as stack:
        stack.enter_context(running_worker(folder, painter.url, environment | data))
        apps: dict[str, Any] = {}
        for number in (1, 2):
            log = folder / f"app{number}.log"
            running = support.app_process(folder / "data", log, **environment)
            url, process = stack.enter_context(running)
            apps[url.removeprefix("http://")] = process
        conf = partial(scale_conf, folder, addresses=[*apps])
        url = stack.enter_context(running_nginx(folder, conf, login="/login"))
        yield Cluster(url, apps, {**_inherited(), **environment, **data})


@contextmanager
def log_in(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as program:
        answer = program.post("/login", data={"username": LOGIN[0], "password": LOGIN[1]})
        assert answer.status_code == 200, answer.text
        yield program


def status_with(program: httpx.Client, url: str) -> int:
    """The status of a request of a user to one of the apps, with the cookies of another."""
    with httpx.Client(trust_env=False, timeout=60, cookies=dict(program.cookies)) as other:
        return other.get(f"{url}/stage").status_code


def until(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_login_with_one_app_is_one_with_the_other_until_it_ends_at_either(cluster: Cluster) -> None:
    one, other = cluster.addresses
    with log_in(one) as program, log_in(one) as device:
        until(lambda: status_with(program, other) == 200)
        assert status_with(program, one) == 200
        assert not [name for name in program.cookies if name.startswith("access-token")]
        with httpx.Client(trust_env=False, cookies=dict(program.cookies)) as leaving:
            leaving.get(f"{other}/logout")
        until(lambda: status_with(program, one) == 401)
        assert status_with(program, other) == 401
        assert status_with(device, one) == status_with(device, other) == 200


def test_api_key_of_the_command_line_works_with_each_app_until_it_is_revoked(
    cluster: Cluster,
) -> None:
    def keys(*arguments: str) -> str:
        command = [sys.executable, "-m", "comfy_ui", "keys", *arguments]
        done = subprocess.run(
            command, env=cluster.environment, cwd=support.ROOT, capture_output=True, check=True
        )
        return done.stdout.decode().strip()

    def statuses(key: str) -> set[int]:
        headers = {"Authorization": f"Bearer {key}"}
        urls = [f"{address}/v1/models" for address in cluster.addresses]
        return {httpx.get(url, headers=headers, trust_env=False).status_code for url in urls}

    key = keys("create", "a script", "--user", LOGIN[0])
    until(lambda: statuses(key) == {200})
    keys("revoke", key.split("_")[1])
    until(lambda: statuses(key) == {401})


def test_page_goes_on_with_another_app_when_its_own_is_killed(
    cluster: Cluster, browser: Any, painter: Any
) -> None:
    context = browser.new_context(viewport=support.WIDE, reduced_motion=support.MOTION)
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(cluster.url)
    page.fill("input[name=username]", LOGIN[0])
    page.fill("input[name=password]", LOGIN[1])
    page.click(".login button")
    page.wait_for_selector("form.settings")
    page.wait_for_selector("#stage .stage", state="attached")
    with slowly(painter):
        with page.expect_response(lambda answer: "stage/events" in answer.url) as followed:
            generate(page, "a harbor", steps=30)
        own = followed.value.headers["x-app"]
        page.wait_for_function(
            "() => parseInt(document.querySelector('#stage .percent')?.textContent)"
        )
        page.fill(PROMPT, "a text that is being written")
        page.evaluate("() => { window.notReloaded = true; }")

        def resumed(answer: Any) -> bool:
            return "stage/events" in answer.url and answer.ok and answer.headers["x-app"] != own

        with page.expect_response(resumed):
            killed = time.monotonic()
            cluster.apps[own].kill()
        before = page.evaluate(PERCENT_JS)
        print(f"\nThe stream is there again after {time.monotonic() - killed:.2f} s.")
        page.wait_for_function(f"before => ({PERCENT_JS})() !== before", arg=before)
        print(f"Progress after {time.monotonic() - killed:.2f} s.")
    assert page.input_value(PROMPT) == "a text that is being written"
    set_field(page, "steps", 2)
    page.click("#generate")
    page.wait_for_selector("#results .thumb >> nth=1", state="attached")  # both results
    # Gradio's own events work, too.
    with slowly(painter):
        generate(page, "stopped", steps=100)
        page.click("#stop:not(:disabled)")
        page.wait_for_selector("#generate[data-label=Generate]")
    page.get_by_role("tab", name="Status").click()
    page.wait_for_selector("#status")
    assert page.evaluate("() => window.notReloaded")
    page.reload()
    page.wait_for_selector("form.settings")
    assert page.input_value(PROMPT) == "stopped"
    context.close()


def test_compose_file_names_what_nginx_and_the_settings_know() -> None:
    composed = yaml.safe_load((support.ROOT / "compose.scale.yaml").read_text(encoding="utf-8"))
    services = composed["services"]
    conf = (support.ROOT / "nginx.scale.conf").read_text(encoding="utf-8")
    apps = re.findall(r"server (\w+):7860", conf)
    assert {*apps} == {name for name in services if name.startswith("app")}
    assert services["nginx"]["depends_on"] == apps
    (port,) = re.findall(r"listen (\d+);", conf)
    assert services["nginx"]["ports"] == [f"127.0.0.1:7860:{port}"]
    (network,) = composed["networks"]["default"]["ipam"]["config"]
    for name in (*apps, "worker", "upgrade"):
        environment = services[name]["environment"]
        assert environment["COMFY_UI_TRUSTED_PROXIES"] == network["subnet"]
        assert services[name]["volumes"] == ["data:/data"]
    assert {*composed["volumes"]} == {"data", "database"}

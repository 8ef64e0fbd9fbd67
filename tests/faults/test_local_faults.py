"""Faults on the client's machine: kill, full disk, clock jumps, untrusted certificates."""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import trustme

from comfy_ui import ComfyClient, ComfyUIConnectionError, ComfyWSClient, JobLostError, StorageError
from comfy_ui.demo import DemoServer
from tests import graphs
from tests.faults import catalogue
from tests.faults.proxy import FaultProxy
from tests.shells import SHELLS, Shell, opened


@pytest.fixture(scope="module")
def server() -> Iterator[DemoServer]:
    with DemoServer(speed=50.0).in_thread() as server:
        yield server


_QUEUE_AND_HANG = """
import sys, time
from comfy_ui import ComfyClient
from tests import graphs
client = ComfyClient(url=sys.argv[1])
print(client.queue_prompt(graphs.sampled(steps=40)), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("shell", SHELLS)
async def test_wait_for_completion_job_of_killed_process_returns_result(
    shell: Shell, server: DemoServer
) -> None:
    with subprocess.Popen(  # noqa: ASYNC220 -- nothing else runs in this loop yet
        [sys.executable, "-c", _QUEUE_AND_HANG, server.url], stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout
        prompt_id = (await asyncio.to_thread(killed.stdout.readline)).strip()
        os.kill(killed.pid, signal.SIGKILL)
    async with opened(shell, server.url, timeout=20) as client:
        result = await client.wait_for_completion(prompt_id)
        assert (await client.download(result.images[0])).startswith(b"\x89PNG")


_NOTE_AND_DIE = """
import os, signal, sys
from comfy_ui import ComfyClient
from tests import graphs
client = ComfyClient(url=sys.argv[1])
if sys.argv[3] == "queued":
    client.queue_prompt(graphs.sampled(steps=4, prefix=sys.argv[4]), prompt_id=sys.argv[2])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("died", ["before", "queued"])
async def test_resume_job_noted_before_crash_runs_once(
    shell: Shell, died: str, server: DemoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_ui.protocol.job_state.RESUBMIT_AFTER_S", 0.3)
    prompt_id, prefix = str(uuid4()), f"crash-{uuid4().hex}"
    arguments = [server.url, prompt_id, died, prefix]
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", _NOTE_AND_DIE, *arguments])
    async with opened(shell, server.url, timeout=20) as client:
        result = await client.resume(prompt_id, graphs.sampled(steps=4, prefix=prefix))
        assert result.prompt_id == prompt_id
        again = await client.resume(prompt_id)
        assert again.files == result.files
        recent = await client.recent()
    assert sum(prefix in str(entry.graph) for entry in recent.values()) == 1
    assert result.images[0].filename.startswith(prefix)


@pytest.mark.parametrize("shell", SHELLS)
async def test_resume_unknown_job_without_graph_raises_job_lost(
    shell: Shell, server: DemoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_ui.protocol.job_state.RESUBMIT_AFTER_S", 0.1)
    async with opened(shell, server.url, timeout=20) as client:
        with pytest.raises(JobLostError) as caught:
            await client.resume(str(uuid4()))
        assert caught.value.hint


@pytest.mark.parametrize("shell", SHELLS)
async def test_resume_unreachable_server_queues_nothing(shell: Shell, server: DemoServer) -> None:
    with FaultProxy(server.url).in_thread() as proxy:
        proxy.arm(catalogue.status(502, "Bad Gateway"), phase="run", times=catalogue.FOREVER)
        async with opened(shell, proxy.url, timeout=1) as client:
            with pytest.raises(ComfyUIConnectionError) as caught:
                await client.resume(str(uuid4()), graphs.sampled())
            assert caught.value.hint
        assert not proxy.accepted


def test_save_full_disk_raises_storage_error_and_leaves_no_file(
    server: DemoServer, tmp_path: Path
) -> None:
    with ComfyClient(url=server.url, timeout=20) as client:
        result = client.run(graphs.sampled(steps=1, size=256))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            with pytest.raises(StorageError) as caught:
                result.save(tmp_path)
            with pytest.raises(StorageError):
                client.download(result.images[0], to=tmp_path / "one.png")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert caught.value.hint
        assert not list(tmp_path.iterdir())
        assert result.save(tmp_path)


@pytest.mark.parametrize("shell", SHELLS)
async def test_run_system_clock_jumps_keep_times_plausible(
    shell: Shell, server: DemoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, jumps = time.time, itertools.cycle([0.0, 3600.0, -86_400.0])
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
    seen = []
    async with opened(shell, server.url, timeout=20) as client:
        result = await client.run(graphs.sampled(steps=10), on_progress=seen.append)
    assert result.images
    assert all(0 <= p.elapsed_s < 20 for p in seen)
    assert all(p.eta is None or 0 <= p.eta < 60 for p in seen)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls_proxy(server: DemoServer, authority: trustme.CA) -> Iterator[FaultProxy]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with FaultProxy(server.url, tls=context).in_thread() as proxy:
        yield proxy


@pytest.mark.parametrize("shell", SHELLS)
async def test_run_untrusted_certificate_names_verify_option(
    shell: Shell, tls_proxy: FaultProxy
) -> None:
    async with opened(shell, tls_proxy.url, timeout=10) as client:
        with pytest.raises(ComfyUIConnectionError) as caught:
            await client.run(graphs.sampled())
        assert "verify=" in caught.value.hint
    assert not tls_proxy.accepted


@pytest.mark.parametrize("shell", SHELLS)
async def test_run_https_to_plain_server_raises_with_hint(shell: Shell, server: DemoServer) -> None:
    async with opened(shell, server.url.replace("http", "https"), timeout=10) as client:
        with pytest.raises(ComfyUIConnectionError) as caught:
            await client.run(graphs.sampled())
        assert caught.value.hint


async def test_run_custom_authority_is_trusted_for_http_and_socket(
    tls_proxy: FaultProxy, authority: trustme.CA, tmp_path: Path
) -> None:
    pem = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(pem))
    seen = []
    async with ComfyWSClient(url=tls_proxy.url, timeout=20, verify=pem) as client:
        result = await client.run(graphs.sampled(steps=10), on_progress=seen.append)
        assert result.images
    assert tls_proxy.sockets == 1
    assert any(p.preview for p in seen)

"""Downloads of model files: resumed, verified and rejected."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from comfy_ui.errors import ModelDownloadError, StorageError
from comfy_ui.models import download
from comfy_ui.models.download import ModelSources, download_model, part_bytes
from tests.client.publisher import SHA256, WEIGHTS, Publisher, publishing


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def publisher(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Publisher]:
    certificates = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(certificates))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates))
    with publishing(authority) as server:
        yield server


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "vae" / "a.safetensors"


def sources(publisher: Publisher, **more: Any) -> ModelSources:
    return ModelSources(frozenset({publisher.host}), **more)


async def fetch(publisher: Publisher, target: Path, **options: Any) -> Path:
    options = {"sources": sources(publisher), "pause_s": 0.01, **options}
    return await download_model(f"{publisher.url}/x/resolve/main/a.safetensors", target, **options)


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def remove(path: Path) -> None:
    path.unlink()


def leftovers(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir() if path != target)


async def test_download_model_writes_whole_file_and_reports_progress(
    publisher: Publisher, target: Path
) -> None:
    progress: list[tuple[int, int | None]] = []
    await fetch(publisher, target, sha256=SHA256, on_progress=lambda *at: progress.append(at))
    assert content(target) == WEIGHTS
    assert leftovers(target) == []
    assert progress[0] == (0, len(WEIGHTS))
    assert progress[-1] == (len(WEIGHTS), len(WEIGHTS))
    assert [received for received, _ in progress] == sorted(received for received, _ in progress)
    assert publisher.asked[0]["accept-encoding"] == "identity"


async def test_download_model_existing_file_sends_no_request(
    publisher: Publisher, target: Path
) -> None:
    put(target, b"mine")
    await fetch(publisher, target, sha256=SHA256)
    assert content(target) == b"mine"
    assert publisher.asked == []


async def test_download_model_cut_connection_resumes_with_range(
    publisher: Publisher, target: Path
) -> None:
    publisher.cuts = [2 * 2**20, 2**20]
    await fetch(publisher, target, sha256=SHA256)
    assert content(target) == WEIGHTS
    starts = [asked.get("range") for asked in publisher.asked]
    assert starts == [None, f"bytes={2 * 2**20}-", f"bytes={3 * 2**20}-"]
    assert publisher.asked[1]["if-range"] == '"one"'


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
async def test_download_model_without_strong_etag_restarts(
    publisher: Publisher, target: Path, etag: str | None
) -> None:
    publisher.etag, publisher.cuts = etag, [2 * 2**20]
    await fetch(publisher, target, sha256=SHA256)
    assert content(target) == WEIGHTS
    assert [asked.get("range") for asked in publisher.asked] == [None, None]


async def test_download_model_changed_file_is_not_mixed_with_partial_one(
    publisher: Publisher, target: Path
) -> None:
    publisher.cuts = [2 * 2**20] + [0] * 4
    with pytest.raises(ModelDownloadError, match="did not arrive") as caught:
        await fetch(publisher, target)
    assert caught.value.retryable
    assert part_bytes(target) == 2 * 2**20
    publisher.content, publisher.etag = WEIGHTS[::-1], '"two"'
    await fetch(publisher, target)
    assert content(target) == WEIGHTS[::-1]


async def test_download_model_wrong_hash_deletes_partial_file(
    publisher: Publisher, target: Path
) -> None:
    with pytest.raises(ModelDownloadError, match="does not have the expected SHA-256"):
        await fetch(publisher, target, sha256="0" * 64)
    assert leftovers(target) == []
    assert content(target) is None


async def test_download_model_checks_digest_sent_by_server(
    publisher: Publisher, target: Path
) -> None:
    publisher.linked = SHA256
    publisher.content = WEIGHTS[:-1] + b"?"
    with pytest.raises(ModelDownloadError, match="does not have the expected SHA-256"):
        await fetch(publisher, target)
    publisher.content = WEIGHTS
    await fetch(publisher, target)
    assert content(target) == WEIGHTS


async def test_download_model_without_free_space_raises_before_writing(
    publisher: Publisher, target: Path
) -> None:
    with pytest.raises(StorageError, match="are free in the models folder") as caught:
        await fetch(publisher, target, free_bytes=lambda _: 100_000_000)
    assert "Free some space" in caught.value.hint
    assert part_bytes(target) == 0
    assert content(target) is None


async def test_download_model_without_length_is_complete_at_end_of_answer(
    publisher: Publisher, target: Path
) -> None:
    publisher.announces_length = False
    await fetch(publisher, target, size_bytes=len(WEIGHTS))
    assert content(target) == WEIGHTS


async def test_download_model_without_length_stops_above_known_size(
    publisher: Publisher, target: Path
) -> None:
    publisher.announces_length = False
    with pytest.raises(ModelDownloadError, match=r"is larger than 0\.00 GB"):
        await fetch(publisher, target, size_bytes=2 * 2**20)
    assert leftovers(target) == []
    assert content(target) is None


async def test_download_model_without_length_stops_above_largest_size(
    publisher: Publisher, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_MAX_FILE_BYTES", 2 * 2**20)
    publisher.announces_length = False
    with pytest.raises(ModelDownloadError, match="is larger than"):
        await fetch(publisher, target)
    assert leftovers(target) == []


async def test_download_model_announced_above_largest_size_raises_before_writing(
    publisher: Publisher, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_MAX_FILE_BYTES", 2 * 2**20)
    with pytest.raises(ModelDownloadError, match="is larger than"):
        await fetch(publisher, target)
    assert part_bytes(target) == 0


async def test_download_model_more_than_announced_total_raises(
    publisher: Publisher, target: Path
) -> None:
    publisher.cuts = [2 * 2**20]
    publisher.total = 2 * 2**20 + 1  # in the answer to the second request
    written: list[int] = []
    with pytest.raises(ModelDownloadError, match="is larger than"):
        await fetch(publisher, target, on_progress=lambda done, _: written.append(done))
    assert max(written) <= publisher.total
    assert leftovers(target) == []


async def test_download_model_without_length_checks_free_space_while_writing(
    publisher: Publisher, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_SPACE_STEP_BYTES", 2**20)
    publisher.announces_length = False
    free = [250_000_000, 230_000_000, 200_000_000]
    with pytest.raises(StorageError, match="are free in the models folder"):
        await fetch(publisher, target, free_bytes=lambda _: free.pop(0))
    assert 0 < part_bytes(target) < len(WEIGHTS)


async def test_download_model_disk_full_keeps_partial_file_for_resume(
    publisher: Publisher, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from comfy_ui.models import download

    write = download._Part.write

    def full(self: Any, piece: bytes) -> None:
        if self.received >= 2 * 2**20:
            raise OSError(28, "No space left on device")
        write(self, piece)

    with monkeypatch.context() as patch:
        patch.setattr(download._Part, "write", full)
        with pytest.raises(StorageError, match="No space left"):
            await fetch(publisher, target)
    await fetch(publisher, target, sha256=SHA256)
    assert content(target) == WEIGHTS
    assert publisher.asked[-1]["range"] == f"bytes={2 * 2**20}-"


async def test_download_model_gated_file_sends_token_to_hub_only(
    publisher: Publisher, target: Path, authority: trustme.CA
) -> None:
    publisher.token = "hf_secret"
    with pytest.raises(ModelDownloadError, match="requires a login") as caught:
        await fetch(publisher, target)
    assert "Accept the license at" in caught.value.hint
    assert "save a Hugging Face token under Models in Status, or set HF_TOKEN" in caught.value.hint
    with publishing(authority) as store:
        publisher.moved_to = f"{store.url}/blob"
        hub = ModelSources(frozenset({store.host}), token="hf_secret", hub=publisher.host)
        await fetch(publisher, target, sources=hub, sha256=SHA256)
        assert content(target) == WEIGHTS
        assert publisher.asked[-1]["authorization"] == "Bearer hf_secret"
        assert [asked.get("authorization") for asked in store.asked] == [None]
    assert "hf_secret" not in repr(hub)


async def test_download_model_redirect_to_unknown_host_raises(
    publisher: Publisher, target: Path
) -> None:
    for place, message in (
        ("https://localhost:1/x", "Downloads from 'localhost' are not allowed"),
        ("http://127.0.0.1/x", "not a plain https address"),
        (f"{publisher.url}/again", "redirects endlessly"),
    ):
        publisher.moved_to = place
        with pytest.raises(ModelDownloadError, match=message):
            await fetch(publisher, target)


@pytest.mark.parametrize(
    ("url", "fits"),
    [
        ("https://huggingface.co/a/resolve/main/b.safetensors", True),
        ("http://huggingface.co/a", False),
        ("https://user@huggingface.co/a", False),
        ("https://huggingface.co.evil.example/a", False),
        ("https://cas-bridge.xethub.hf.co/a", False),
        ("https://169.254.169.254/latest", False),
        ("ftp://huggingface.co/a", False),
        ("", False),
    ],
)
def test_model_sources_check_accepts_known_https_hosts_only(url: str, fits: bool) -> None:
    if fits:
        ModelSources().check(url)
    else:
        with pytest.raises(ModelDownloadError):
            ModelSources().check(url)
    ModelSources().check("https://cas-bridge.xethub.hf.co/a", redirected=True)


async def test_download_model_retries_busy_server_but_not_missing_file(
    publisher: Publisher, target: Path
) -> None:
    publisher.statuses = [503, 429]
    await fetch(publisher, target)
    assert content(target) == WEIGHTS
    remove(target)
    publisher.statuses = [404]
    with pytest.raises(ModelDownloadError, match="no longer at its URL"):
        await fetch(publisher, target)


async def test_download_model_cancelled_resumes_later(publisher: Publisher, target: Path) -> None:
    publisher.gate = threading.Event()
    here = asyncio.Event()

    def on_progress(received: int, _: int | None) -> None:
        if received >= 2 * 2**20:
            here.set()

    task = asyncio.ensure_future(fetch(publisher, target, on_progress=on_progress))
    await here.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    publisher.gate.set()
    publisher.gate = None
    assert part_bytes(target) == 2 * 2**20
    await fetch(publisher, target, sha256=SHA256)
    assert content(target) == WEIGHTS


def put_whole_part(publisher: Publisher, target: Path) -> None:
    """Write the partial file of a download that was killed just before the final rename."""
    put(target.with_name("a.safetensors.part"), WEIGHTS)
    about = {"url": f"{publisher.url}/x/resolve/main/a.safetensors", "etag": '"one"'}
    put(target.with_name("a.safetensors.part.json"), json.dumps(about).encode())


async def test_download_model_cancelled_while_hashing_keeps_partial_file(
    publisher: Publisher, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_whole_part(publisher, target)
    task = asyncio.ensure_future(fetch(publisher, target))

    def hash_next(_: object) -> bool:
        task.get_loop().call_soon_threadsafe(task.cancel)
        return True

    monkeypatch.setattr("comfy_ui.models.download._Part.hash_next", hash_next)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert part_bytes(target) == len(WEIGHTS)


KILLED = """
import asyncio, os, sys
from pathlib import Path
from comfy_ui.models.download import ModelSources, download_model
url, host, target = sys.argv[1:]
def on_progress(received, total):
    if received >= 2 * 2**20:
        os._exit(9)
sources = ModelSources(frozenset({host}))
asyncio.run(download_model(url, Path(target), sources=sources, on_progress=on_progress))
"""


async def test_download_model_killed_process_resumes_from_written_bytes(
    publisher: Publisher, target: Path
) -> None:
    url = f"{publisher.url}/x/resolve/main/a.safetensors"
    argv = [sys.executable, "-c", KILLED, url, publisher.host, str(target)]
    done = await asyncio.to_thread(subprocess.run, argv, check=False, timeout=60)
    assert done.returncode == 9
    kept = part_bytes(target)
    assert kept > 0
    await fetch(publisher, target, sha256=SHA256)
    assert content(target) == WEIGHTS
    assert publisher.asked[-1]["range"] == f"bytes={kept}-"


async def test_download_model_complete_partial_file_is_renamed(
    publisher: Publisher, target: Path
) -> None:
    put_whole_part(publisher, target)
    await fetch(publisher, target, sha256=SHA256)
    assert content(target) == WEIGHTS
    assert leftovers(target) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows is not asked")
async def test_download_model_same_target_twice_raises_storage_error(
    publisher: Publisher, target: Path
) -> None:
    publisher.gate = threading.Event()
    begun = asyncio.Event()
    first = asyncio.ensure_future(
        fetch(publisher, target, sha256=SHA256, on_progress=lambda *_: begun.set())
    )
    await begun.wait()
    with pytest.raises(StorageError, match="already being downloaded"):
        await fetch(publisher, target)
    publisher.gate.set()
    await first
    assert content(target) == WEIGHTS

"""Download of a model file from its publisher: resumable, verified, atomic.

Connects to the public web: HTTPS only, to the configured hosts only, and no credential leaves its
host.

Not huggingface_hub: its Xet transfers open connections in native code, where redirects cannot be
kept to the allowed hosts, and its HTTP client can be replaced only for the whole process.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import httpx

from .. import __version__
from ..client.transport.threads import run_in_thread
from ..errors import ModelDownloadError, StorageError
from ..protocol.retry import Backoff
from ..settings import Settings

__all__ = ["ModelSources", "download_model", "fetch_json", "part_bytes"]

Progress = Callable[[int, int | None], None]
"""Called with the received bytes and the total bytes, or None if the total is unknown."""

# Hugging Face redirects downloads to hosts of these domains.
_HUB_STORES: Final = (".huggingface.co", ".hf.co")
_MAX_REDIRECTS: Final = 8
_ATTEMPTS: Final = 5  # in a row without a byte
_CHUNK_BYTES: Final = 1 << 20
_SPARE_BYTES: Final = 200_000_000  # a completely full disk breaks more than a download
_SPACE_STEP_BYTES: Final = 64 * 2**20
_MAX_JSON_BYTES: Final = 16 * 2**20
_MAX_FILE_BYTES: Final = 200 * 10**9
_TIMEOUT: Final = httpx.Timeout(30.0, connect=15.0)
_RANGE: Final = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+)")
_HOW_TO_LOG_IN: Final = "save a Hugging Face token under Models in Status, or set HF_TOKEN."
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ModelSources:
    """The hosts that model files may come from: ``hub`` (Hugging Face) and ``hosts``.

    A host may include a port. ``token`` opens gated files of the hub; no other host receives it.
    """

    hosts: frozenset[str] = frozenset()
    token: str | None = field(default=None, repr=False)
    hub: str = "huggingface.co"

    @classmethod
    def of(cls, settings: Settings) -> ModelSources:
        """Return the sources of the settings."""
        hosts = (host.strip().lower() for host in settings.download_hosts.split(","))
        token = settings.hf_token.get_secret_value() if settings.hf_token else None
        return cls(frozenset(host for host in hosts if host), token)

    def check(self, url: str, *, redirected: bool = False) -> None:
        """Check that a URL may be requested.

        Raises:
            ModelDownloadError: the URL is not HTTPS, or its host is not allowed.
        """
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        if parts.scheme != "https" or parts.username is not None:
            raise ModelDownloadError(f"'{url[:200]}' is not a plain https address.")
        stores = redirected and host.endswith(_HUB_STORES)
        if not stores and {host, parts.netloc.lower()}.isdisjoint({self.hub, *self.hosts}):
            raise ModelDownloadError(
                f"Downloads from '{host}' are not allowed.",
                hint="Add it to COMFY_UI_DOWNLOAD_HOSTS if you trust it.",
            )

    def headers(self, url: str) -> dict[str, str]:
        """Return the credentials for a URL, if any."""
        if self.token and urlsplit(url).netloc.lower() == self.hub:
            return {"authorization": f"Bearer {self.token}"}
        return {}


def part_bytes(target: Path) -> int:
    """Return the number of bytes that an earlier download left."""
    try:
        return _Part(target).path.stat().st_size
    except OSError:
        return 0


async def download_model(
    url: str,
    target: Path,
    *,
    sources: ModelSources,
    sha256: str | None = None,
    size_bytes: int | None = None,
    on_progress: Progress = lambda _done, _total: None,
    free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    pause_s: float = 1.0,
) -> Path:
    """Download ``url`` to ``target``, which appears only when it is complete.

    The received bytes stay in ``NAME.part`` if the download fails or is cancelled. The next call
    resumes it if a strong ETag shows that the file has not changed. A broken connection is resumed
    within the call.

    Args:
        url: the address of the file.
        target: the path of the file.
        sources: the allowed hosts and credentials.
        sha256: the expected digest; by default the one that Hugging Face sends for large files.
        size_bytes: the expected size, which limits a file of unannounced size.
        on_progress: called after each chunk.
        free_bytes: returns the free space of a folder, in bytes.
        pause_s: the longest wait before the second attempt; doubled for each further one.

    Raises:
        ModelDownloadError: the server refuses, the file is missing, gated or has another digest,
            the file is larger than announced, or the connection breaks repeatedly.
        StorageError: there is not enough space, or the disk refuses.
    """
    if await asyncio.to_thread(target.exists):
        return target
    part = _Part(target)
    transfer = _Transfer(
        url,
        part,
        sources,
        size_bytes=size_bytes,
        on_progress=on_progress,
        free_bytes=free_bytes,
    )
    try:
        await run_in_thread(part.open, url)
        while await run_in_thread(part.hash_next):
            pass
        async with httpx.AsyncClient(timeout=_TIMEOUT, follow_redirects=False) as http:
            await transfer.run(http, pause_s)
        await run_in_thread(part.finish, sha256 or transfer.digest, transfer.total)
    except OSError as error:
        raise StorageError(
            f"'{target.name}' cannot be written: {error.strerror or error}.",
            hint="Free some space there and start again: it resumes where it stopped.",
        ) from error
    finally:
        part.close()
    return target


async def fetch_json(url: str, sources: ModelSources) -> Any:
    """Return the JSON at a publisher's address.

    Raises:
        ModelDownloadError: the host is not allowed, or there is no usable answer.
    """
    headers = {"user-agent": f"comfy-ui/{__version__}", "accept": "application/json"}
    content = bytearray()
    try:
        async with httpx.AsyncClient(timeout=_TIMEOUT, follow_redirects=False) as http:
            for _ in range(_MAX_REDIRECTS):
                sources.check(url)
                async with http.stream(
                    "GET", url, headers={**headers, **sources.headers(url)}
                ) as response:
                    if response.has_redirect_location:  # a renamed repository
                        url = urljoin(url, response.headers["location"])
                        continue
                    if response.status_code in {401, 403, 404}:
                        raise ModelDownloadError(
                            f"There is no such model, or it requires a login "
                            f"({response.status_code}).",
                            hint=f"Check the address. If the model is gated, accept its license "
                            f"on its page, then {_HOW_TO_LOG_IN}",
                        )
                    if response.status_code != 200:
                        raise ModelDownloadError(
                            f"The publisher answered {response.status_code}.", retryable=True
                        )
                    async for chunk in response.aiter_bytes():
                        content += chunk
                        if len(content) > _MAX_JSON_BYTES:
                            raise ModelDownloadError("The publisher's answer is too long.")
                return json.loads(content)
    except httpx.HTTPError as error:
        raise ModelDownloadError(
            f"The publisher cannot be reached: {str(error) or type(error).__name__}.",
            retryable=True,
        ) from error
    except (ValueError, RecursionError) as error:
        raise ModelDownloadError("The publisher sent an invalid answer.") from error
    raise ModelDownloadError(f"{url[:200]} redirects endlessly.")


class _Part:
    """The incomplete file beside the target, with its URL and ETag."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f"{target.name}.part")
        self._about = target.with_name(f"{target.name}.part.json")
        self._file: Any = None
        self._hash: Any = None
        self.received = 0
        self.etag: str | None = None

    def open(self, url: str) -> None:
        """Open the file; if it can be resumed, :meth:`hash_next` has to read it first."""
        self.target.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.open("r+b" if self.path.exists() else "x+b")
        try:
            _lock(file)
        except StorageError:
            file.close()
            raise
        self._file = file
        try:
            about = json.loads(self._about.read_text(encoding="utf-8"))
            etag = about["etag"] if about["url"] == url else None
        except (OSError, ValueError, KeyError, TypeError):
            etag = None
        if not isinstance(etag, str):
            self.restart(url, None)
            return
        self._hash, self.etag = hashlib.sha256(), etag

    def hash_next(self) -> bool:
        """Hash the next chunk of the existing bytes; False at the end."""
        chunk = self._file.read(_CHUNK_BYTES)
        self._hash.update(chunk)
        self.received += len(chunk)
        return bool(chunk)

    def restart(self, url: str, etag: str | None) -> None:
        """Start again from the first byte."""
        self._file.seek(0)
        self._file.truncate()
        self._hash, self.received, self.etag = hashlib.sha256(), 0, etag
        self._about.write_text(json.dumps({"url": url, "etag": etag}), encoding="utf-8")

    def write(self, chunk: bytes) -> None:
        """Append received bytes."""
        self._file.write(chunk)
        self._hash.update(chunk)
        self.received += len(chunk)

    def finish(self, digest: str | None, total: int | None) -> None:
        """Rename the file to the target if its digest matches; delete it otherwise."""
        self._file.flush()
        os.fsync(self._file.fileno())  # a power cut must not leave the name without the bytes
        if digest is not None and self._hash.hexdigest() != digest:
            self.delete()
            raise ModelDownloadError(
                f"'{self.target.name}' does not have the expected SHA-256.",
                hint="It was deleted. Try again; if that fails too, the publisher changed it.",
            )
        if total is not None and self.received != total:
            raise ModelDownloadError(f"Only {self.received} of {total} bytes arrived.")
        self.close()
        self.path.replace(self.target)
        self._about.unlink(missing_ok=True)

    def delete(self) -> None:
        """Delete the file, which is not the expected one."""
        self.close()
        self.path.unlink(missing_ok=True)
        self._about.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file, and delete it if it is empty."""
        if self._file is not None:
            with suppress(OSError):  # a full disk may refuse the last flush
                self._file.close()
                if not self.path.stat().st_size:
                    self.path.unlink(missing_ok=True)
                    self._about.unlink(missing_ok=True)
            self._file = None


def _lock(file: Any) -> None:
    """Lock a file, except on Windows.

    Raises:
        StorageError: another process is downloading the same file.
    """
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StorageError(
            f"'{file.name}' is already being downloaded.", hint="Wait for it."
        ) from error


class _Transfer:
    """The requests of one download."""

    def __init__(
        self,
        url: str,
        part: _Part,
        sources: ModelSources,
        *,
        size_bytes: int | None,
        on_progress: Progress,
        free_bytes: Callable[[Path], int],
    ) -> None:
        self._url = url
        self._part = part
        self._sources = sources
        self._on_progress = on_progress
        self._free_bytes = free_bytes
        self._size_bytes = size_bytes
        self._space_until = 0  # the disk has space for this many bytes of the file
        self.digest: str | None = None
        self.total: int | None = None

    async def run(self, http: httpx.AsyncClient, pause_s: float) -> None:
        """Request the file until it is complete.

        Raises:
            ModelDownloadError, OSError.
        """
        backoff = Backoff(base_s=pause_s, cap_s=16 * pause_s, attempts=_ATTEMPTS)
        failures = 0
        while True:
            before = self._part.received
            try:
                if await self._request(http):
                    return
                reason = "the answer was cut short"
            except httpx.TransportError as error:
                reason = str(error) or type(error).__name__
            failures = 1 if self._part.received > before else failures + 1
            delay_s = backoff.delay_s(failures, jitter=random.uniform(0.5, 1.0))
            if delay_s is None:
                raise ModelDownloadError(
                    f"'{self._part.target.name}' did not arrive: {reason}.",
                    hint="Start it again later: it resumes where it stopped.",
                    retryable=True,
                )
            await asyncio.sleep(delay_s)

    async def _request(self, http: httpx.AsyncClient) -> bool:
        """Send one request with its redirects; return whether the file is complete."""
        response = await self._follow_redirects(http)
        try:
            if not await self._accept(response):
                return self.total is not None and self._part.received == self.total
            async for chunk in response.aiter_raw(_CHUNK_BYTES):
                await self._require_small(self._part.received + len(chunk))
                if self._part.received + len(chunk) > self._space_until:
                    await self._require_space()
                await run_in_thread(self._part.write, chunk)
                self._on_progress(self._part.received, self.total)
        finally:
            await response.aclose()
        return self.total is None or self._part.received == self.total

    async def _follow_redirects(self, http: httpx.AsyncClient) -> httpx.Response:
        """Return the response after all redirects. Credentials go to their own host only."""
        part, url = self._part, self._url
        headers = {"user-agent": f"comfy-ui/{__version__}", "accept-encoding": "identity"}
        if part.received and part.etag:
            headers |= {"range": f"bytes={part.received}-", "if-range": part.etag}
        for hop in range(_MAX_REDIRECTS):
            self._sources.check(url, redirected=hop > 0)
            request = http.build_request(
                "GET", url, headers={**headers, **self._sources.headers(url)}
            )
            http.cookies.clear()
            response = await http.send(request, stream=True)
            self._read_digest(url, response)
            if not response.has_redirect_location:
                return response
            await response.aclose()
            url = urljoin(url, response.headers["location"])
        raise ModelDownloadError(f"{self._url} redirects endlessly.")

    def _read_digest(self, url: str, response: httpx.Response) -> None:
        """Read the SHA-256 that Hugging Face sends as the linked ETag of a large file."""
        tag = response.headers.get("x-linked-etag", "").strip('"')
        trusted = urlsplit(url).netloc == urlsplit(self._url).netloc
        if trusted and _SHA256.fullmatch(tag):
            self.digest = tag

    async def _accept(self, response: httpx.Response) -> bool:
        """Check the headers of a response; return whether to read its body."""
        part = self._part
        if response.status_code in {206, 416}:
            start, total = self._range(response)
            if response.status_code == 206 and start == part.received:
                self.total = total
                await self._require_whole_file_fits()
                return True
            if response.status_code == 416 and total == part.received:
                self.total = total  # all bytes arrived, but the file was not renamed
                return False
            await run_in_thread(part.restart, self._url, None)
            raise httpx.RemoteProtocolError("the response has another range than requested")
        if response.status_code == 429 or response.status_code >= 500:
            raise httpx.RemoteProtocolError(f"the answer was {response.status_code}")
        if response.status_code != 200:
            raise self._refusal(response.status_code)
        if response.headers.get("content-type", "").startswith("text/html"):
            raise ModelDownloadError(
                f"{self._url} is a web page, not a file.",
                hint="Hugging Face's file URLs contain /resolve/.",
            )
        if response.headers.get("content-encoding", "identity") != "identity":
            raise ModelDownloadError(f"{self._url} answers with another form of the file.")
        etag, length = response.headers.get("etag", ""), response.headers.get("content-length", "")
        self.total = int(length) if length.isdigit() else None
        # A weak tag does not promise the same bytes.
        strong = etag if etag and not etag.startswith("W/") else None
        await run_in_thread(part.restart, self._url, strong)
        self._space_until = 0
        await self._require_whole_file_fits()
        return True

    @staticmethod
    def _range(response: httpx.Response) -> tuple[int | None, int | None]:
        """Return the first byte and the total size of a partial response."""
        match = _RANGE.fullmatch(response.headers.get("content-range", ""))
        if match is None:
            return None, None
        return int(match[1]) if match[1] else None, int(match[2])

    async def _require_whole_file_fits(self) -> None:
        """Check the announced size, if any, before the first byte is written.

        Raises:
            ModelDownloadError, StorageError: see :meth:`_require_small`, :meth:`_require_space`.
        """
        self._on_progress(self._part.received, self.total)
        if self.total is not None:
            await self._require_small(self.total)
            await self._require_space()

    async def _require_small(self, size: int) -> None:
        """Check that a file of this size is not larger than expected.

        Raises:
            ModelDownloadError: it is larger; the partial file is deleted.
        """
        limit = _MAX_FILE_BYTES
        if self.total is not None:
            limit = min(limit, self.total)
        elif self._size_bytes is not None:  # presets may describe a slightly older file
            limit = min(limit, self._size_bytes + self._size_bytes // 10 + 2**20)
        if size > limit:
            await run_in_thread(self._part.delete)
            raise ModelDownloadError(
                f"'{self._part.target.name}' is larger than {limit / 1e9:.2f} GB.",
                hint="It was deleted. Try again; if that fails too, the publisher changed it.",
            )

    async def _require_space(self) -> None:
        """Check that the remaining bytes, or the next ones of an unknown number, fit on the disk.

        Raises:
            StorageError: there is not enough space.
        """
        folder, needed = self._part.target.parent, _SPACE_STEP_BYTES
        if self.total is not None:
            needed = self.total - self._part.received
        free = await asyncio.to_thread(self._free_bytes, folder)
        if free < needed + _SPARE_BYTES:
            raise StorageError(
                f"'{self._part.target.name}' needs {needed / 1e9:.1f} GB more, and "
                f"{free / 1e9:.1f} GB are free in the models folder.",
                hint="Free some space there and start again.",
            )
        # Other writers use the disk too, so the check is repeated after each step.
        self._space_until = self._part.received + _SPACE_STEP_BYTES

    def _refusal(self, status: int) -> ModelDownloadError:
        name = self._part.target.name
        page = self._url.partition("/resolve/")[0]
        if status in {401, 403}:
            hint = f"Accept the license at {page}, then {_HOW_TO_LOG_IN}"
            if self._sources.token:
                hint = f"Accept the license at {page} with the account of your token: it may not "
                hint += "read the file yet."
            return ModelDownloadError(
                f"The publisher of '{name}' requires a login ({status}).", hint=hint
            )
        if status in {404, 410}:
            return ModelDownloadError(
                f"'{name}' is no longer at its URL ({status}).", hint=f"Look at {page}."
            )
        return ModelDownloadError(f"'{name}' was refused ({status}).", hint=f"Look at {page}.")

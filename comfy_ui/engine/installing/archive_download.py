"""Download a source archive, with progress and cancellation."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ...errors import EngineError, InstallCancelledError, ModelDownloadError
from ...models.download import ModelSources, download_model

__all__ = ["download_archive"]

_MAX_ARCHIVE_BYTES: Final = 10**9  # forges do not announce the size


def download_archive(
    url: str,
    folder: Path,
    *,
    hosts: frozenset[str],
    sha256: str | None,
    title: str,
    hint: str,
    cancel: threading.Event,
    on_progress: Callable[[int, int | None], None],
) -> Path:
    """Download an archive into a folder; a part of it that is there is continued.

    Args:
        url: the https address.
        folder: the folder for it.
        hosts: the hosts that it may come from.
        sha256: its digest, if known.
        title: what it is, for the message of an error.
        hint: what to do if it cannot be downloaded.
        cancel: set to stop.
        on_progress: called with the received and the total bytes.

    Raises:
        InstallCancelledError: ``cancel`` was set.
        EngineError: it cannot be downloaded.
        StorageError: the disk refuses.
    """
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    target = folder / f"{name}{'.zip' if url.endswith('.zip') else '.tar.gz'}"

    async def work() -> Path:
        download = asyncio.ensure_future(
            download_model(
                url,
                target,
                sources=ModelSources(hosts, hub=""),
                sha256=sha256,
                size_bytes=_MAX_ARCHIVE_BYTES,
                on_progress=on_progress,
            )
        )
        while not download.done():
            await asyncio.wait([download], timeout=0.2)
            if cancel.is_set():
                download.cancel()
        return await download

    try:
        return asyncio.run(work())
    except asyncio.CancelledError:
        raise InstallCancelledError("The installation was cancelled.") from None
    except ModelDownloadError as error:
        raise EngineError(f"{title} could not be downloaded: {error.message}", hint=hint) from error

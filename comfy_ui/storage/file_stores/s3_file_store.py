"""Files in a bucket of S3, with copies of those that were used last in a folder.

Objects never change, so a copy is valid as long as it exists. The credentials are those that all
programs for S3 use, such as ``AWS_ACCESS_KEY_ID``; ``AWS_ENDPOINT_URL_S3`` names another server
than Amazon's.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import quote

from ...errors import StorageError
from .file_store import ABANDONED_S, clear_incoming

__all__ = ["S3FileStore"]

logger = logging.getLogger(__name__)

_MARKER: Final = "comfy-ui.txt"
_MARKED: Final = b"comfy-ui keeps files of results and uploads below this prefix.\n"
_FOLDERS: Final = ("files", "thumbs", "inputs")
_IN_USE_S: Final = 600.0  # a copy that was used since may still be read
_TOUCH_S: Final = 86400.0
_LINK_S: Final = 300
_ATTEMPTS: Final = 2
_LOCKS: Final = 64
_LOCAL_ERRORS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_HINT: Final = (
    "Check COMFY_UI_FILES, AWS_ENDPOINT_URL_S3 and the credentials, such as AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY."
)


class S3FileStore:
    """Files in a bucket, see :class:`.FileStore`.

    Args:
        url: ``s3://BUCKET`` or ``s3://BUCKET/PREFIX``.
        folder: the folder of the copies.
        cache_bytes: how large the copies may be together. Those used within the last ten minutes
            are kept beyond that.
        links: whether downloads go to the bucket itself, by signed addresses.
    """

    remote = True

    def __init__(self, url: str, folder: Path, *, cache_bytes: int, links: bool = False) -> None:
        import s3fs  # type: ignore[import-untyped]

        self.folder = folder
        self._url = url.rstrip("/")
        self._bucket, _, prefix = self._url.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._cache_bytes = cache_bytes
        self._links = links
        self._unchecked_bytes = 0
        self._size_lock = threading.Lock()
        self._locks = [threading.Lock() for _ in range(_LOCKS)]
        self._s3 = s3fs.S3FileSystem(
            use_listings_cache=False,
            skip_instance_cache=True,
            max_concurrency=2,  # parts of 50 MB, which are in memory
            config_kwargs={
                "signature_version": "s3v4",  # signed addresses have an older one otherwise
                "connect_timeout": 5,
                "read_timeout": 30,
                "retries": {"max_attempts": _ATTEMPTS},
            },
        )
        self._s3.retries = _ATTEMPTS

    def prepare(self) -> None:
        """Create the folder, delete incomplete downloads, and check that files can be stored."""
        clear_incoming(self.folder, min_age_s=ABANDONED_S)
        try:
            self.check()
        except StorageError as error:
            raise StorageError(
                f"Files cannot be stored at {self._url}: {_reason(error.__cause__)}.", hint=_HINT
            ) from error
        self._evict()

    def check(self) -> None:
        """Look for a small object that shows whether the bucket can be used; write the first."""
        with _calls(missing_is_away=True):
            try:
                self._head(_MARKER)
            except FileNotFoundError:
                self._call("put_object", _MARKER, Body=_MARKED)

    def save(self, key: str, *, refresh: bool = True) -> None:
        """Upload ``folder / key`` unless the bucket has it and ``refresh`` is not set."""
        path = self.folder / key
        _mark_used(path)  # as long as it is not stored, it must not be evicted
        stat = path.stat()
        with suppress(FileNotFoundError), _calls():
            if not refresh and self._head(key)["ContentLength"] == stat.st_size:
                return
        with _calls(missing_is_away=True):
            self._s3.put_file(str(path), self._object(key))
            head = self._head(key)
            if head["ContentLength"] != stat.st_size:
                raise OSError(errno.EIO, "an object is shorter than its file")
        # The same time in each copy, so that browsers can continue a download elsewhere.
        os.utime(path, (time.time(), head["LastModified"].timestamp()))
        self._grown(stat.st_size)

    def local(self, key: str) -> Path:
        """Return the path of the copy, downloaded and checked if there is none."""
        path = self.folder / key
        if not _mark_used(path):
            with self._locks[hash(key) % _LOCKS]:  # one download for all that wait for it
                if not _mark_used(path):
                    self._download(key, path)
        return path

    def exists(self, key: str) -> bool:
        """Whether the bucket has the object."""
        try:
            self.modified_at(key)
        except FileNotFoundError:
            return False
        return True

    def touch(self, key: str) -> bool:
        """Upload a file again if that was done more than a day ago."""
        try:
            if time.time() - self.modified_at(key) > _TOUCH_S and self.local(key).exists():
                self.save(key)
        except FileNotFoundError:
            return False
        return True

    def modified_at(self, key: str) -> float:
        """Return when the object was written last."""
        with _calls():
            return float(self._head(key)["LastModified"].timestamp())

    def delete(self, key: str) -> None:
        """Delete the object and the copy."""
        with suppress(FileNotFoundError), _calls():
            self._call("delete_object", key)
        (self.folder / key).unlink(missing_ok=True)

    def list(self, prefix: str) -> Mapping[str, float]:
        """Return the objects whose keys start with a prefix."""
        found: dict[str, float] = {}
        more: dict[str, Any] = {}
        with _calls():
            while True:
                page = self._s3.call_s3(
                    "list_objects_v2", Bucket=self._bucket, Prefix=self._prefix + prefix, **more
                )
                for each in page.get("Contents", []):
                    key = each["Key"].removeprefix(self._prefix)
                    found[key] = each["LastModified"].timestamp()
                if not page.get("IsTruncated"):
                    return found
                more = {"ContinuationToken": page["NextContinuationToken"]}

    def link(self, key: str, *, filename: str, media_type: str) -> str | None:
        """Return a signed address of the object for five minutes, if ``links`` is set."""
        if not self._links:
            return None
        with _calls():
            return str(
                self._s3.url(
                    self._object(key),
                    expires=_LINK_S,
                    ResponseContentType=media_type,
                    ResponseContentDisposition=f"attachment; filename*=UTF-8''{quote(filename)}",
                )
            )

    def _download(self, key: str, path: Path) -> None:
        """Download an object to a path; leave nothing there if the bucket does not have it.

        Raises:
            StorageError: the bucket cannot be used, or the object is damaged.
        """
        partial = self.folder / "incoming" / uuid.uuid4().hex
        try:
            for _ in range(_ATTEMPTS):
                with _calls():
                    head = self._head(key)
                    self._s3.get_file(self._object(key), str(partial))
                if _is_whole(partial, key, head["ContentLength"]):
                    os.utime(partial, (time.time(), head["LastModified"].timestamp()))
                    path.parent.mkdir(parents=True, exist_ok=True)
                    partial.replace(path)
                    self._grown(head["ContentLength"])
                    return
                logger.error("The object %s is not the file that was stored.", key)
        except FileNotFoundError:
            return
        finally:
            partial.unlink(missing_ok=True)
        raise StorageError(
            "The file is damaged in the file storage.",
            hint="Restore it there from a backup, or run the job again.",
        )

    def _object(self, key: str) -> str:
        return f"{self._bucket}/{self._prefix}{key}"

    def _head(self, key: str) -> dict[str, Any]:
        return self._call("head_object", key)

    def _call(self, method: str, key: str, **options: Any) -> dict[str, Any]:
        return dict(
            self._s3.call_s3(method, Bucket=self._bucket, Key=self._prefix + key, **options)
        )

    def _grown(self, size_bytes: int) -> None:
        """Evict copies each time that a tenth of the limit was added.

        Each process counts what it has added: several may share the folder.
        """
        with self._size_lock:
            self._unchecked_bytes += size_bytes
            if self._unchecked_bytes < self._cache_bytes / 10:
                return
            self._unchecked_bytes = 0
        self._evict()

    def _evict(self) -> None:
        """Delete the copies used least recently, until they take nine tenths of the limit."""
        copies: list[tuple[float, int, Path]] = []
        for folder in _FOLDERS:
            for path in (self.folder / folder).rglob("*.*"):
                with suppress(FileNotFoundError):
                    stat = path.stat()
                    copies.append((stat.st_atime, stat.st_size, path))
        excess = sum(size for _, size, _ in copies) - self._cache_bytes
        if excess <= 0:
            return
        excess += self._cache_bytes // 10
        for used_at, size_bytes, path in sorted(copies):
            if excess <= 0 or time.time() - used_at < _IN_USE_S:
                break
            with suppress(OSError):  # on Windows, another process reads it
                path.unlink(missing_ok=True)
                excess -= size_bytes


def _mark_used(path: Path) -> bool:
    """Set the time of the last use of a copy; False if there is none."""
    try:
        os.utime(path, (time.time(), path.stat().st_mtime))
    except FileNotFoundError:
        return False
    return True


def _is_whole(path: Path, key: str, size_bytes: int) -> bool:
    """Whether a download has its size, and the content that the key of an original names."""
    if path.stat().st_size != size_bytes:
        return False
    if not key.startswith("files/"):
        return True
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == PurePosixPath(key).stem


@contextmanager
def _calls(*, missing_is_away: bool = False) -> Iterator[None]:
    """Translate the errors of calls to S3, except those of a missing object and of our own disk.

    ``missing_is_away``: nothing is read, so it is the bucket that is missing.
    """
    from botocore.exceptions import (  # type: ignore[import-untyped]
        BotoCoreError,
        ClientError,
    )

    try:
        yield
    except (OSError, TimeoutError, BotoCoreError, ClientError) as error:
        if isinstance(error, FileNotFoundError) and not missing_is_away:
            raise
        if isinstance(error, OSError) and error.errno in _LOCAL_ERRORS:
            raise
        logger.info("The file storage cannot be used: %s", type(error).__name__)
        raise StorageError(
            f"The file storage cannot be used: {_reason(error)}.",
            hint="Nothing is lost. It is tried again automatically.",
            retryable=True,
        ) from error


def _reason(error: BaseException | None) -> str:
    """What is wrong, without addresses and keys, which users must not see."""
    if isinstance(error, FileNotFoundError):
        return "there is no such bucket"
    if isinstance(error, PermissionError):
        return "access was denied"
    match type(error).__name__:
        case "NoCredentialsError" | "PartialCredentialsError" | "ProfileNotFound":
            return "there are no credentials"
        case _:
            return "it does not answer"

"""The choice of the file store by the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ...features import require_feature
from ...settings import Settings
from .file_store import FileStore, FolderFileStore

__all__ = ["choose_file_store"]

_COPIES: Final = "file_copies"


def choose_file_store(settings: Settings, data_dir: Path, *, shared: bool = False) -> FileStore:
    """Return the store that the setting ``files`` names, by default the data folder.

    ``shared``: other processes use the data folder, too.

    Raises:
        MissingFeatureError: the extra [s3] is not installed.
    """
    if settings.files is None:
        return FolderFileStore(data_dir, shared=shared)
    if not settings.files.startswith("s3://"):
        folder = Path(settings.files.removeprefix("file://")).expanduser()
        return FolderFileStore(folder, shared=True)
    require_feature("s3")
    from .s3_file_store import S3FileStore

    return S3FileStore(
        settings.files,
        data_dir / _COPIES,
        cache_bytes=int(settings.files_cache_gb * 1e9),
        links=settings.files_links == "signed",
    )

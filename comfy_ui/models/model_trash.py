"""Delete, restore and move model files. A deleted file stays in a trash folder beside the others.

The trash is outside of the folders that ComfyUI lists, on the same disk, so that nothing is copied.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

from ..errors import StorageError, ValidationError
from .inventory import LocalModel, list_files
from .model_folders import ModelFolders

__all__ = ["delete_file", "empty_trash", "list_trash", "move_file", "restore_file"]

_TRASH: Final = ".comfy-ui-trash"


def delete_file(file: LocalModel) -> LocalModel:
    """Move a file, and those beside it that describe it, to the trash; return its new place.

    Raises:
        StorageError: the disk refuses.
    """
    target = _free(_trash_of(file) / file.folder / file.name)
    _move(file.path, target)
    name = target.relative_to(_trash_of(file) / file.folder).as_posix()
    return LocalModel(file.folder, name, target, file.size_bytes)


def list_trash(folders: ModelFolders) -> list[LocalModel]:
    """List the deleted files, by folder and name."""
    trashes = {path.parent / _TRASH: None for _, path in folders.listed()}
    deleted = ModelFolders(
        known={
            folder.name: folder
            for trash in trashes
            if trash.is_dir()
            for folder in trash.iterdir()
            if folder.is_dir()
        }
    )
    return list_files(deleted)


def restore_file(deleted: LocalModel, folders: ModelFolders) -> Path:
    """Move a deleted file back, and return its path.

    Raises:
        ValidationError: there is another file of that name, or the folder is gone.
        StorageError: the disk refuses.
    """
    target = folders.path(deleted.folder, deleted.name)
    _require_free(target)
    _move(deleted.path, target)
    return target


def move_file(file: LocalModel, folder: str, folders: ModelFolders) -> Path:
    """Move a file into another folder below ``models/``, and return its path.

    Raises:
        ValidationError: there is no such folder, or another file of that name in it.
        StorageError: the disk refuses.
    """
    target = folders.path(folder, file.name)
    _require_free(target)
    _move(file.path, target)
    return target


def empty_trash(deleted: list[LocalModel]) -> int:
    """Delete files of the trash for good; return the freed bytes.

    Raises:
        StorageError: the disk refuses.
    """
    freed = 0
    for file in deleted:
        if _TRASH not in file.path.parts:
            raise ValidationError(f"'{file.id}' is not in the trash.")
        try:
            for path in (file.path, *_beside(file.path)):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise _refused(file.path, error) from error
        freed += file.size_bytes
    return freed


def _trash_of(file: LocalModel) -> Path:
    root = file.path
    for _ in file.name.split("/"):
        root = root.parent
    return root.parent / _TRASH


def _free(path: Path) -> Path:
    """Return the path, or one with a number if it is taken."""
    free, number = path, 2
    while free.exists():
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return free


def _require_free(path: Path) -> None:
    if path.exists():
        raise ValidationError(f"There is another file at '{path}'.", hint="Rename one of them.")


def _move(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = _beside(source)
        source.rename(target)
        for path in beside:
            companion = target.with_name(target.stem + path.name.removeprefix(source.stem))
            if not companion.exists():
                path.rename(companion)
    except OSError as error:
        raise _refused(source, error) from error


def _beside(path: Path) -> list[Path]:
    """The previews and descriptions that tools put beside a model file."""
    endings = (".civitai.info", ".cm-info.json", ".metadata.json", ".json", ".txt", ".yaml")
    pictures = (".png", ".jpg", ".jpeg", ".webp")
    names = [*endings, *pictures, *(f".preview{ending}" for ending in pictures)]
    files = (path.with_name(path.stem + name) for name in names)
    return [file for file in files if file.is_file()]


def _refused(path: Path, error: OSError) -> StorageError:
    if error.errno == errno.EXDEV:
        return StorageError(
            f"'{path.name}' cannot be moved: its target is on another disk.",
            hint="Move it yourself.",
        )
    return StorageError(f"'{path.name}' cannot be moved: {error.strerror or error}.")

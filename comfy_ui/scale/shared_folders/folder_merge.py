"""What makes a folder and the shared files equal: a three-way merge of their digests. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["FolderMerge", "merge"]


@dataclass(frozen=True, slots=True)
class FolderMerge:
    """The paths to write and to delete, in this order within each: a preset is its sidecar.

    ``push`` and ``pull`` hold paths that are to be as they are here, or as the others have them;
    where they are missing, they are to be deleted. ``replaced`` are those of ``pull`` that were
    changed here as well, and differently.
    """

    push: tuple[str, ...] = ()
    pull: tuple[str, ...] = ()
    replaced: frozenset[str] = frozenset()


def merge(
    base: Mapping[str, str], here: Mapping[str, str], shared: Mapping[str, str]
) -> FolderMerge:
    """Compare digests by path. ``base`` are those of the last time when both sides were equal.

    Of two changes the shared one wins, and a change wins over a deletion.
    """
    push, pull, replaced = [], [], set()
    different = {path for path in {*here, *shared} if here.get(path) != shared.get(path)}
    for path in sorted(different, key=lambda path: (path.endswith(".toml"), path)):
        old, mine, theirs = base.get(path), here.get(path), shared.get(path)
        if theirs == old or (theirs is None and mine != old):
            push.append(path)
        else:
            pull.append(path)
            if mine not in {old, None}:
                replaced.add(path)
    return FolderMerge((*push,), (*pull,), frozenset(replaced))

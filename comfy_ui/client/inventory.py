"""What a server has, as calls: nodes, models, templates, its log, the user's files. Pure.

As in ``routes.py``, paths are those of a server of one's own.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from ..protocol.nodes import NodeLibrary
from .calls import Answer, Call, as_list, read_json, read_names, read_nothing, read_object
from .values import LogLine, SystemStats, Template, UserFile, read_templates

# A server with many custom nodes takes minutes for its node list, in one blocking piece.
OBJECT_INFO_TIMEOUT_S = 300.0

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def object_info(node: str | None = None) -> Call[NodeLibrary]:
    """All node classes, or the one named; an unknown one gives an empty library."""
    return Call(
        method="GET",
        path="/object_info" if node is None else f"/object_info/{quote(node, safe='')}",
        parse=lambda answer: NodeLibrary(read_object(answer)),
        timeout_s=OBJECT_INFO_TIMEOUT_S,
    )


def model_folders() -> Call[list[str]]:
    return Call(method="GET", path="/models", parse=read_names)


def models(folder: str) -> Call[list[str]]:
    """Files of one folder below ``models/``; those in its subfolders as ``a/b.safetensors``."""
    return Call(method="GET", path=f"/models/{quote(folder, safe='')}", parse=read_names)


def model_paths() -> Call[dict[str, list[str]]]:
    """Where the server looks for the files of each folder: paths of *its* machine."""
    return Call(
        method="GET",
        path="/experiment/models",
        parse=lambda answer: {
            str(entry["name"]): [str(path) for path in as_list(entry.get("folders"))]
            for entry in as_list(read_json(answer))
            if isinstance(entry, dict) and "name" in entry
        },
    )


def embeddings() -> Call[list[str]]:
    return Call(method="GET", path="/embeddings", parse=read_names)


def system_stats() -> Call[SystemStats]:
    return Call(
        method="GET",
        path="/system_stats",
        parse=lambda answer: SystemStats.read(read_object(answer)),
    )


def features() -> Call[dict[str, Any]]:
    """What the server says of itself; an open dict that grows with every core."""
    return Call(method="GET", path="/features", parse=read_object)


def templates() -> Call[dict[str, list[str]]]:
    """Workflow templates of the installed node packs: ``{pack: [name, …]}``."""
    return Call(
        method="GET",
        path="/workflow_templates",
        parse=lambda answer: {
            pack: [str(name) for name in as_list(names)]
            for pack, names in read_object(answer).items()
        },
    )


def template(pack: str, name: str) -> Call[dict[str, Any]]:
    """One of them, in editor format."""
    return Call(
        method="GET",
        path=f"/api/workflow_templates/{quote(pack, safe='')}/{quote(name, safe='')}.json",
        parse=read_object,
    )


def official_templates() -> Call[list[Template]]:
    """The templates that come with ComfyUI; none where that package is not installed."""
    return Call(
        method="GET",
        path="/templates/index.json",
        parse=lambda answer: [] if answer.status == 404 else read_templates(read_json(answer)),
        accepts=(404,),
    )


def official_template(name: str) -> Call[dict[str, Any]]:
    """One of them, in editor format."""
    return Call(method="GET", path=f"/templates/{quote(name, safe='')}.json", parse=read_object)


def logs() -> Call[list[LogLine]]:
    """The last lines of the server's log. Unstable by ComfyUI's own declaration."""
    return Call(
        method="GET",
        path="/internal/logs/raw",
        parse=lambda answer: [
            LogLine(str(entry.get("t", "")), _COLOURS.sub("", str(entry.get("m", ""))).rstrip())
            for entry in as_list(read_object(answer).get("entries"))
            if isinstance(entry, dict)
        ],
    )


# -- the user's folder on the server


def userdata(folder: str) -> Call[list[UserFile]]:
    """Files below ``folder``, recursively; an absent folder has none."""
    return Call(
        method="GET",
        path="/userdata",
        query={"dir": folder, "recurse": "true", "full_info": "true"},
        parse=lambda answer: [] if answer.status == 404 else _user_files(answer),
        accepts=(404,),
    )


def read_userdata(path: str) -> Call[bytes]:
    return Call(
        method="GET", path=f"/userdata/{quote(path, safe='')}", parse=lambda answer: answer.content
    )


def write_userdata(path: str, content: bytes, *, overwrite: bool) -> Call[None]:
    """409 when it exists and ``overwrite`` is false."""
    return Call(
        method="POST",
        path=f"/userdata/{quote(path, safe='')}",
        query={"overwrite": "true" if overwrite else "false"},
        body=content,
        parse=read_nothing,
        repeatable=overwrite,
    )


def delete_userdata(path: str) -> Call[bool]:
    """Whether there was such a file."""
    return Call(
        method="DELETE",
        path=f"/userdata/{quote(path, safe='')}",
        parse=lambda answer: answer.status != 404,
        accepts=(404,),
    )


def _user_files(answer: Answer) -> list[UserFile]:
    found = []
    for entry in as_list(read_json(answer)):
        if isinstance(entry, dict):
            size, modified = entry.get("size"), entry.get("modified")
            found.append(
                UserFile(
                    str(entry.get("path", "")),
                    size if isinstance(size, int) else 0,
                    _unix_time(modified),
                )
            )
    return found


def _unix_time(value: Any) -> float | None:
    """Seconds; newer cores tell milliseconds, which as seconds would be millennia from now."""
    if not isinstance(value, int | float):
        return None
    return value / 1000 if value > 1e11 else float(value)

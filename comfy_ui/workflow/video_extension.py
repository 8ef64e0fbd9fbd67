"""The graph of a video that continues another one, from its last frame."""

from __future__ import annotations

from typing import Any, Final

from .graph import AnyGraph, Graph, as_link, copied, inputs_of

__all__ = ["continue_video", "continues_video"]

_JOINT: Final = "joint"
"""The id of the inserted node. It marks the graph, so that a job is known after a restart."""
_MOST_FRAMES: Final = 4096  # of ImageFromBatch
_LONGEST_S: Final = 3600.0


def continue_video(graph: AnyGraph) -> Graph | None:
    """Return the graph without the first frame of its video, which is the last one of the source.

    Without it, the new video can be joined to the source bit by bit. Its sound begins as much
    later. None if the graph has no ``CreateVideo`` node with images from another node.
    """
    extended = copied(graph)
    for node in graph:
        inputs: dict[str, Any] = extended[node]["inputs"]
        images = as_link(inputs.get("images"))
        if extended[node]["class_type"] != "CreateVideo" or images is None:
            continue
        extended[_JOINT] = {
            "class_type": "ImageFromBatch",
            "inputs": {"image": [*images], "batch_index": 1, "length": _MOST_FRAMES},
            "_meta": {"title": "Without the first frame"},
        }
        inputs["images"] = [_JOINT, 0]
        audio, fps = as_link(inputs.get("audio")), inputs.get("fps")
        if audio is not None and isinstance(fps, int | float) and fps > 0:
            extended[f"{_JOINT}-sound"] = {
                "class_type": "TrimAudioDuration",
                "inputs": {"audio": [*audio], "start_index": 1 / fps, "duration": _LONGEST_S},
                "_meta": {"title": "Without the sound of the first frame"},
            }
            inputs["audio"] = [f"{_JOINT}-sound", 0]
        return extended
    return None


def continues_video(graph: AnyGraph) -> bool:
    """Whether :func:`continue_video` has made the graph."""
    return _JOINT in graph and "image" in inputs_of(graph, _JOINT)

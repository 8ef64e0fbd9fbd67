"""What a parameter is for, and what is usual for each such role."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Role = Literal[
    "prompt",
    "negative",
    "seed",
    "steps",
    "cfg",
    "guidance",
    "sampler",
    "scheduler",
    "width",
    "height",
    "frames",
    "fps",
    "duration",
    "batch",
    "strength",
    "model",
    "lora",
    "image",
    "mask",
    "video",
    "audio",
    "text",
    "choice",
    "bool",
    "int",
    "float",
]

INTEGER_ROLES = frozenset({"seed", "steps", "width", "height", "frames", "batch", "int"})
NUMBER_ROLES = INTEGER_ROLES | {"cfg", "guidance", "fps", "duration", "strength", "float"}
FILE_ROLES = frozenset({"image", "mask", "video", "audio"})

MAX_SEED = 2**53 - 1
"""The largest seed that survives JavaScript, and so a round trip through ComfyUI's editor."""

# What a parameter of a role is unless its sidecar says otherwise. `order` is that of experience:
# what people set most comes first.
USUAL: Mapping[str, Mapping[str, Any]] = {
    "prompt": {"label": "Prompt", "order": 0, "default": ""},
    "image": {"label": "Picture", "order": 5},
    "mask": {"label": "Mask", "order": 6},
    "video": {"label": "Video", "order": 7},
    "audio": {"label": "Sound", "order": 8},
    "negative": {
        "label": "Negative prompt",
        "order": 10,
        "default": "",
        "help": "What should not be in the result.",
    },
    "strength": {
        "label": "Strength",
        "order": 20,
        "min": 0,
        "max": 1,
        "step": 0.05,
        "help": "How much may change: 0 keeps everything, 1 redraws it all.",
    },
    "width": {"label": "Width", "order": 30, "min": 256, "max": 2048, "step": 16},
    "height": {"label": "Height", "order": 31, "min": 256, "max": 2048, "step": 16},
    "duration": {"label": "Length (seconds)", "order": 32, "step": 0.1},
    "frames": {"label": "Frames", "order": 33},
    "fps": {"label": "Frames per second", "order": 34, "min": 1, "max": 60, "step": 1},
    "seed": {
        "label": "Seed",
        "order": 40,
        "min": 0,
        "max": MAX_SEED,
        "step": 1,
        "help": "The same seed and settings give the same result. -1 picks a new one.",
    },
    "batch": {"label": "Images", "order": 41, "min": 1, "max": 16, "step": 1, "default": 1},
    "steps": {
        "label": "Steps",
        "order": 50,
        "min": 1,
        "max": 100,
        "step": 1,
        "help": "More steps take longer and refine more.",
    },
    "cfg": {
        "label": "CFG",
        "order": 51,
        "min": 0,
        "max": 20,
        "step": 0.1,
        "help": "How closely the prompt is followed. At 1 the negative prompt has no effect.",
    },
    "guidance": {
        "label": "Guidance",
        "order": 52,
        "min": 0,
        "max": 20,
        "step": 0.1,
        "help": "How closely the prompt is followed.",
    },
    "sampler": {"label": "Sampler", "order": 53, "advanced": True, "choices_from": "object_info"},
    "scheduler": {
        "label": "Scheduler",
        "order": 54,
        "advanced": True,
        "choices_from": "object_info",
    },
    "model": {
        "label": "Model",
        "order": 60,
        "advanced": True,
        "group": "Models",
        "choices_from": "object_info",
    },
    "lora": {"label": "LoRA", "order": 61, "group": "Models", "choices_from": "object_info"},
}

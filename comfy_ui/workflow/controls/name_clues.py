"""Infer a value's role from names and titles."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..fields.field_types import Role

# Input names that have one meaning on every node.
ROLE_OF_NAME: dict[str, Role] = {
    "seed": "seed",
    "noise_seed": "seed",
    "steps": "steps",
    "cfg": "cfg",
    "cfg_scale": "cfg",
    "guidance": "guidance",
    "guidance_scale": "guidance",
    "sampler_name": "sampler",
    "scheduler": "scheduler",
    "width": "width",
    "height": "height",
    "batch_size": "batch",
    "length": "frames",
    "num_frames": "frames",
    "video_frames": "frames",
    "frames": "frames",
    "fps": "fps",
    "frame_rate": "fps",
    "duration": "duration",
    "seconds": "duration",
    "max_duration": "duration",
    "denoise": "strength",
    "lora_name": "lora",
    "aspect_ratio": "choice",
    "ratio": "choice",
    "resolution": "choice",
    "size": "choice",
}
NEGATIVE = re.compile(r"negative|\bneg\b|^neg_", re.IGNORECASE)
# Texts that process other texts: separators, search patterns, instructions for language models.
NOT_A_PROMPT = re.compile(
    r"delimiter|separator|pattern|find|replace|key|expression|format|system|instruct|trigger"
    r"|prefix|suffix|language|filename",
    re.IGNORECASE,
)
TEXT_FOR_A_MODEL = re.compile(
    r"text|prompt|caption|tags|clip_[lg]$|t5xxl|llama|description", re.IGNORECASE
)
# Inputs of image nodes that set the size of their output.
SIZE = re.compile(
    r"(^|\.)(width|height|megapixels|longer_size|shorter_size|largest_size|multiplier|scale_by"
    r"|upscale_by|aspect_ratio|resolution)$"
)

# Inputs that make a graph work, whatever its result should be: how files are named and encoded,
# how models are loaded, how samplers hand over to each other, how numbers are computed.
_PLUMBING = re.compile(
    r"(^|\.)(filename_prefix|weight_dtype|device|dtype|codec|bit_depth|expression|fragment_shader"
    r"|size_mode|add_noise|return_with_leftover_noise|start_at_step|end_at_step|switch|index"
    r"|batch_index|tile_size|temporal_size|temporal_overlap|reference_latents_method|pre_cfg"
    r"|use_default_template|sigmas)$"
)
_CLASS_PLUMBING = {
    "type": re.compile("CLIPLoader"),
    "overlap": re.compile("VAE(De|En)code"),
    "noise_seed": re.compile("KSamplerAdvanced"),  # without noise; with noise it is the seed
}

# Nodes that search and replace in texts, such as those that pick a line of a prompt.
_TEXT_TOOLS = re.compile(r"^(Regex|StringReplace|StringContains|StringCompare|StringSubstring)")

# Nodes of packs that declare a parameter of the workflow, and their input with its value.
_PARAMETER_CLASS = re.compile(r"SwarmInput|ETN_Parameter|CozyGen\w*Input|CPackInput")
_PARAMETER_VALUES = (
    "value", "default", "default_value", "text", "image", "model", "choice", "int", "float",
)  # fmt: skip

_TITLES: tuple[tuple[re.Pattern[str], Role], ...] = (
    (re.compile(r"\bwidth\b", re.IGNORECASE), "width"),
    (re.compile(r"\bheight\b", re.IGNORECASE), "height"),
    (re.compile(r"\b(fps|frame ?rate|frames per second)\b", re.IGNORECASE), "fps"),
    (re.compile(r"\b(duration|seconds|secs?)\b", re.IGNORECASE), "duration"),
    (re.compile(r"\b(frames|frame count|length)\b", re.IGNORECASE), "frames"),
    (re.compile(r"\bseed\b", re.IGNORECASE), "seed"),
    (re.compile(r"\bsteps\b", re.IGNORECASE), "steps"),
    (re.compile(r"\bcfg\b", re.IGNORECASE), "cfg"),
)


def role_in(words: str) -> Role | None:
    """Return the role of a number with this title.

    >>> role_in("turbo_steps")
    'steps'
    """
    words = words.replace("_", " ")
    return next((role for pattern, role in _TITLES if pattern.search(words)), None)


def is_plumbing(class_type: str, name: str) -> bool:
    """Whether an input without a role or a title is technical.

    >>> is_plumbing("SaveImage", "filename_prefix"), is_plumbing("LoraLoader", "strength_model")
    (True, False)
    >>> is_plumbing("RegexExtract", "mode")
    True
    """
    classes = _CLASS_PLUMBING.get(name)
    return bool(
        _PLUMBING.search(name)
        or _TEXT_TOOLS.search(class_type)
        or (classes and classes.search(class_type))
    )


def parameter_input(class_type: str, inputs: Mapping[str, Any]) -> str | None:
    """Return the value input of a node that declares a parameter; None for any other node."""
    if not _PARAMETER_CLASS.match(class_type):
        return None
    return next((name for name in _PARAMETER_VALUES if name in inputs), None)

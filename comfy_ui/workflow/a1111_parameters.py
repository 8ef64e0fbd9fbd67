"""Generation parameters as AUTOMATIC1111's web UI and its forks write them into images.

::

    a cat <lora:fluffy:0.7>
    Negative prompt: blurry
    Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 1, Size: 512x768,
    Model: dreamy
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from .loras.lora_tags import find_lora_tags, remove_lora_tags

_MAX_TEXT = 200_000  # characters; real ones have a few thousand
_FIELD = re.compile(r'\s*(\w[\w \-/]{0,60}):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')

# Names that the rule in `sampler_and_scheduler` gets wrong.
_SAMPLERS: Mapping[str, str] = {
    "euler a": "euler_ancestral",
    "dpm2": "dpm_2",
    "dpm2 a": "dpm_2_ancestral",
    "dpm++ 2s a": "dpmpp_2s_ancestral",
    "unipc": "uni_pc",
    "restart": "euler",
}
_SCHEDULERS: Mapping[str, str] = {
    "karras": "karras",
    "exponential": "exponential",
    "sgm uniform": "sgm_uniform",
    "simple": "simple",
    "normal": "normal",
    "uniform": "normal",
    "ddim": "ddim_uniform",
    "beta": "beta",
    "kl optimal": "kl_optimal",
}


def parse_parameters(text: str) -> dict[str, Any]:
    """Parse a ``parameters`` text into our value names and ComfyUI's sampler names.

    The result has any of: ``prompt``, ``negative``, ``loras`` (see :mod:`.lora_values`),
    ``steps``, ``cfg``, ``seed``, ``sampler``, ``scheduler``, ``width``, ``height``, ``strength``,
    ``model``. It is empty for any other text.
    """
    text = text[:_MAX_TEXT].replace("\r\n", "\n")
    head, mark, line = ("\n" + text).rpartition("\nSteps:")
    if not mark:
        return {}
    prompt, _, negative = head.partition("\nNegative prompt:")
    values: dict[str, Any] = {"negative": negative.strip()} if negative.strip() else {}
    loras = [*_loras(prompt)]
    if loras:
        values["loras"] = loras
    values["prompt"] = remove_lora_tags(prompt).strip()
    return values | _settings(
        {key: _unquote(value) for key, value in _FIELD.findall("Steps:" + line)}
    )


def _loras(prompt: str) -> Iterator[dict[str, Any]]:
    """Yield the LoRAs of a prompt. A1111 writes the weight of the text encoder first."""
    for tag in find_lora_tags(prompt):
        weights = tag.weights or (1.0,)
        lora = {"name": tag.name, "strength": weights[-1]}
        yield lora if len(weights) == 1 else {**lora, "strength_clip": weights[0]}


def sampler_and_scheduler(name: str) -> tuple[str, str | None]:
    """Translate an A1111 sampler name, which may end in a scheduler, to ComfyUI's names.

    >>> sampler_and_scheduler("DPM++ 2M SDE Karras")
    ('dpmpp_2m_sde', 'karras')
    """
    sampler, scheduler = name.strip().lower(), None
    for suffix, scheduler_name in _SCHEDULERS.items():
        if sampler.endswith(" " + suffix):
            sampler, scheduler = sampler.removesuffix(" " + suffix), scheduler_name
            break
    return _SAMPLERS.get(sampler) or sampler.replace("++", "pp").replace(" ", "_"), scheduler


def _settings(fields: Mapping[str, str]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for key, name, read in (
        ("Steps", "steps", int),
        ("CFG scale", "cfg", float),
        ("Seed", "seed", int),
        ("Denoising strength", "strength", float),
        ("Model", "model", str),
    ):
        try:
            settings[name] = read(fields[key])
        except (KeyError, ValueError):
            continue
    if "Sampler" in fields:
        settings["sampler"], scheduler = sampler_and_scheduler(fields["Sampler"])
        scheduler = _SCHEDULERS.get(fields.get("Schedule type", "").lower(), scheduler)
        if scheduler:
            settings["scheduler"] = scheduler
    width, _, height = fields.get("Size", "").partition("x")
    if width.isdecimal() and height.isdecimal() and len(width + height) <= 12:
        settings["width"], settings["height"] = int(width), int(height)
    return settings


def _unquote(value: str) -> str:
    if value.startswith('"'):
        try:
            return str(json.loads(value))
        except ValueError:
            return value.strip('"')
    return value.strip()

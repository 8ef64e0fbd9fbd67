"""Generation parameters as AUTOMATIC1111's web UI and its relatives write them into pictures.

::

    a cat <lora:fluffy:0.7>
    Negative prompt: blurry
    Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 1, Size: 512x768,
    Model: dreamy
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_MAX_TEXT = 200_000  # characters; real ones have a few thousand
_FIELD = re.compile(r'\s*(\w[\w \-/]{0,60}):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
_LORA = re.compile(r"<lora:([^:<>]{1,300})(?::(-?\d{1,3}(?:\.\d{1,6})?))?[^<>]{0,60}>")

# Names that the general rule below does not give.
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
    """The values in a ``parameters`` text, by our names and in ComfyUI's words.

    Any of: ``prompt``, ``negative``, ``loras`` (list of name and strength), ``steps``, ``cfg``,
    ``seed``, ``sampler``, ``scheduler``, ``width``, ``height``, ``strength``, ``model``. Empty
    when it is no such text.
    """
    text = text[:_MAX_TEXT].replace("\r\n", "\n")
    head, mark, line = ("\n" + text).rpartition("\nSteps:")
    if not mark:
        return {}
    prompt, _, negative = head.partition("\nNegative prompt:")
    values: dict[str, Any] = {"negative": negative.strip()} if negative.strip() else {}
    loras = [
        {"name": name, "strength": float(weight or 1)} for name, weight in _LORA.findall(prompt)
    ]
    if loras:
        values["loras"] = loras
    values["prompt"] = _LORA.sub("", prompt).strip()
    return values | _settings(
        {key: _unquote(value) for key, value in _FIELD.findall("Steps:" + line)}
    )


def sampler_and_scheduler(name: str) -> tuple[str, str | None]:
    """ComfyUI's names for a sampler of A1111, which may have the scheduler in its name.

    >>> sampler_and_scheduler("DPM++ 2M SDE Karras")
    ('dpmpp_2m_sde', 'karras')
    """
    word, scheduler = name.strip().lower(), None
    for suffix, found in _SCHEDULERS.items():
        if word.endswith(" " + suffix):
            word, scheduler = word.removesuffix(" " + suffix), found
            break
    known = _SAMPLERS.get(word)
    return known or word.replace("++", "pp").replace(" ", "_"), scheduler


def _settings(fields: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, name, read in (
        ("Steps", "steps", int),
        ("CFG scale", "cfg", float),
        ("Seed", "seed", int),
        ("Denoising strength", "strength", float),
        ("Model", "model", str),
    ):
        try:
            found[name] = read(fields[key])
        except (KeyError, ValueError):
            continue
    if "Sampler" in fields:
        found["sampler"], scheduler = sampler_and_scheduler(fields["Sampler"])
        scheduler = _SCHEDULERS.get(fields.get("Schedule type", "").lower(), scheduler)
        if scheduler:
            found["scheduler"] = scheduler
    width, _, height = fields.get("Size", "").partition("x")
    if width.isdecimal() and height.isdecimal() and len(width + height) <= 12:
        found["width"], found["height"] = int(width), int(height)
    return found


def _unquote(value: str) -> str:
    if value.startswith('"'):
        try:
            return str(json.loads(value))
        except ValueError:
            return value.strip('"')
    return value.strip()

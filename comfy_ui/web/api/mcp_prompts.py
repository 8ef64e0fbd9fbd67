"""The prompts of the MCP server: tasks that a user of an assistant can choose from a menu. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ...errors import ValidationError, closest

__all__ = ["PROMPTS", "prompt_text"]


@dataclass(frozen=True, slots=True)
class McpPrompt:
    """A prompt. ``arguments`` are name, description, and whether it is required."""

    name: str
    title: str
    description: str
    arguments: tuple[tuple[str, str, bool], ...]
    text: str


PROMPTS: Final = {
    prompt.name: prompt
    for prompt in (
        McpPrompt(
            "create",
            "Create an image, a video or music",
            "Turn an idea into a result with the preset that suits it.",
            (
                ("idea", "what to make, in a few words", True),
                ("style", "how it should look or sound", False),
            ),
            "Make this: {idea}\nStyle: {style}\n\n"
            "Call presets and choose one that is ready and suits the idea. Call enhance with that"
            " preset and the idea, and keep what it must show. Then call generate, look at the"
            " result, and show it with its link.",
        ),
        McpPrompt(
            "improve",
            "Improve a result",
            "Change one thing of a result and keep the rest.",
            (
                ("job_id", "the job of the result", True),
                ("wish", "what should be different", True),
            ),
            "Call job with job_id {job_id} and look at its result, prompt and seed. Change this and"
            " keep the rest: {wish}\n\nCall generate with the same preset and seed, and a prompt"
            " that differs only in what the wish needs. Show both results.",
        ),
        McpPrompt(
            "compare",
            "Compare presets",
            "Make the same idea with several presets.",
            (("idea", "what to make, in a few words", True),),
            "Call presets and choose up to three that are ready and make images. Call generate"
            " with each, with this prompt and the same seed: {idea}\n\nShow the results side by"
            " side, and say which preset followed the prompt best.",
        ),
    )
}


def prompt_text(name: str, arguments: Mapping[str, str]) -> str:
    """Return the text of a prompt with its arguments.

    Raises:
        ValidationError: there is no such prompt, or a required argument is missing.

    >>> prompt_text("compare", {"idea": "a harbor"})[:12]
    'Call presets'
    """
    prompt = PROMPTS.get(name)
    if prompt is None:
        raise ValidationError(
            f"There is no prompt '{name[:80]}'.", hint=closest(name[:80], PROMPTS)
        )
    values = {}
    for argument, _, required in prompt.arguments:
        values[argument] = str(arguments.get(argument, "")).strip()[:4000]
        if required and not values[argument]:
            raise ValidationError(f"The argument '{argument}' is missing.")
    values = {argument: value or "as you like" for argument, value in values.items()}
    return prompt.text.format_map(values)

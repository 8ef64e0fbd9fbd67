"""Drafts of the built-in enhancer for 40 prompts and 5 families, for review.

python -m tests.prompts.table > table.md    all of them
python -m tests.prompts.table --write       the short form, into docs/use/prompts.md
"""

from __future__ import annotations

import sys
from itertools import cycle
from pathlib import Path

from comfy_ui.prompts import EnhanceOptions, enhance_prompt, list_styles

PAGE = Path(__file__).resolve().parents[2] / "docs" / "use" / "prompts.md"
BEGIN, END = "<!-- the table: python -m tests.prompts.table --write -->", "<!-- end -->"
FAMILIES: list[tuple[str, EnhanceOptions]] = [
    ("SDXL", {"family": "SDXL"}),
    ("Flux.1", {"family": "Flux.1"}),
    ("Qwen-Image", {"family": "Qwen-Image", "strength": "light"}),
    ("Wan (video)", {"family": "Wan", "kind": "video"}),
    ("ACE-Step (music)", {"family": "ACE-Step", "kind": "audio"}),
]
PROMPTS = """\
a cat
a cat on a windowsill in the rain
portrait of an old fisherman
a woman reading in a café
two children flying a kite on a hill
a knight in rusty armour
a fox in the snow
a hummingbird at a red flower
three owls on a branch at night
a whale under the ice
a bowl of ramen
strawberry cake on a plate
a cup of coffee, steam, morning
a cyberpunk city at night
Tokyo street after rain, neon signs
an old harbour town in Portugal
a narrow alley with laundry
a cosy living room with a fireplace
an abandoned library
the inside of a cathedral
an astronaut on a red planet
a spaceship passing a nebula
a mountain lake at sunrise
a desert with a lone tree
waves against a lighthouse in a storm
a path through a bamboo forest
a perfume bottle on black stone
a vintage car on a coastal road
a steam train on a bridge
a logo of a fox, flat
a poster that says "OPEN ALL NIGHT"
watercolor of a garden
anime girl with an umbrella
oil painting of a storm at sea
(soft light:1.3), a dragon <lora:scales:0.7>
a {red|blue} balloon over __place__
loneliness
slow folk song about the sea
ein alter Leuchtturm im Nebel
窓辺で眠る猫""".splitlines()
SHOWN = [
    "a cat on a windowsill in the rain",
    "a woman reading in a café",
    "a cyberpunk city at night",
    "waves against a lighthouse in a storm",
    'a poster that says "OPEN ALL NIGHT"',
    "(soft light:1.3), a dragon <lora:scales:0.7>",
    "slow folk song about the sea",
    "ein alter Leuchtturm im Nebel",
]


def rows(prompts: list[str]) -> list[tuple[str, str, str, str]]:
    """Return the prompt, family, style and draft of each row."""
    styles = cycle(list_styles())
    drafts = []
    for prompt in prompts:
        for style, (name, options) in zip(styles, FAMILIES, strict=False):
            draft = enhance_prompt(prompt, **options, style=style, model="rules")
            drafts.append((prompt, name, style, draft.enhanced))
    return drafts


def table(prompts: list[str]) -> str:
    """Return the rows as Markdown; each prompt is shown in its first row only."""
    lines = ["| prompt | family | style | draft |", "|---|---|---|---|"]
    last = ""
    for prompt, *others in rows(prompts):
        cells = ["" if prompt == last else prompt, *others]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        last = prompt
    return "\n".join(lines) + "\n"


def document(text: str) -> str:
    """Return the page with an updated table."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{table(SHOWN)}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(document(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table(PROMPTS), end="")

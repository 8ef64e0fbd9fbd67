"""Drafts of the built-in enhancer for 100 prompts, for review and for the documents.

python -m tests.prompts.table > table.md    all of them, for 5 families
python -m tests.prompts.table --write       the tables in docs/use
"""

from __future__ import annotations

import sys
from itertools import cycle
from pathlib import Path

from comfy_ui.prompts import EnhanceOptions, enhance_prompt, list_styles

DOCS = Path(__file__).resolve().parents[2] / "docs" / "use"
PAGE, EXAMPLES = DOCS / "prompts.md", DOCS / "enhance-examples.md"
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
a horse galloping on a beach
three owls on a branch at night
a whale under the ice
a hummingbird at a red flower
a goldfish in a bowl
a lion cub yawning
a wolf howling at the moon
a butterfly on a thistle
portrait of an old fisherman
a woman reading in a café
two children flying a kite on a hill
she waves from a train window
a blacksmith at work
a ballerina in an empty theater
a nurse at the end of a night shift
a boy blowing soap bubbles
a street musician in the rain
my grandmother's hands
a viking with a braided beard
a surgeon in an operating room
a wizard reading a scroll
an elf archer in a forest
a bowl of ramen
strawberry cake on a plate
a cup of coffee, steam, morning
sushi on a wooden board
a glass of red wine
a basket of vegetables at a market
Tokyo street after rain, neon signs
a cyberpunk city at night
an old harbor town in Portugal
a narrow alley with laundry
a medieval village
a castle on a hill
a subway station
the skyline of New York at dusk
a lighthouse
a cozy living room with a fireplace
an abandoned library
the inside of a cathedral
a modern kitchen
an empty white room
a mountain lake at sunrise
a desert with a lone tree
waves against a lighthouse in a storm
a path through a bamboo forest
northern lights over a fjord
a field of lavender
a volcano erupting
a cave with crystals
a thunderstorm over the prairie
an astronaut on a red planet
a spaceship passing a nebula
a black hole
a perfume bottle on black stone
a wristwatch
a computer mouse
an old typewriter
a chess board
a violin
a vintage car on a coastal road
a steam train on a bridge
a sailboat
a hot air balloon
a fighter jet above the clouds
a logo of a fox, flat
a poster that says "OPEN ALL NIGHT"
a black square
a floor plan
a dragon on a mountain
a giant robot in the city
a unicorn in a meadow
a sunflower
a cactus in a pot
loneliness
hope
a seal of approval
a fish tank
a bear hug
a mouse in a wheat field
anime girl with an umbrella
oil painting of a storm at sea
watercolor of a garden
pixel art of a dungeon
a clown with a sad face
a scientist in a laboratory
a football player scoring a goal
a bride in a field
an apple
a clock melting on a branch
a crowd at a concert
steampunk owl
a cat on a windowsill in the rain
ein alter Leuchtturm im Nebel
(soft light:1.3), a dragon <lora:scales:0.7>
a {red|blue} balloon over __place__
窓辺で眠る猫
a mermaid
a mosque at sunset""".splitlines()
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


def example_table() -> str:
    """Return one row for each prompt, with a draft in sentences and one in tags."""
    lines = ["| prompt | sentences (Flux.1, detailed) | tags (SDXL, balanced) |", "|---|---|---|"]
    for prompt in PROMPTS:
        cells = [prompt]
        for family, style in (("Flux.1", "detailed"), ("SDXL", "balanced")):
            draft = enhance_prompt(prompt, family=family, style=style, model="rules")
            added = draft.enhanced.removeprefix(prompt).lstrip(" ,.")
            cells.append(f"… {added}" if added else f"*{draft.reason}*")
        escaped = (
            cell.replace("|", "\\|").replace("<", "\\<").replace("_", "\\_") for cell in cells
        )
        lines.append(f"| {' | '.join(escaped)} |")
    return "\n".join(lines) + "\n"


def document(text: str, rows: str) -> str:
    """Return a page with ``rows`` as its table."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{rows}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        for page, rows_ in ((PAGE, table(SHOWN)), (EXAMPLES, example_table())):
            text_ = page.read_text(encoding="utf-8")
            page.write_text(document(text_, rows_), encoding="utf-8")
    else:
        print(table(PROMPTS), end="")

"""The sense in which the built-in rules take the words of a prompt."""

from __future__ import annotations

import itertools
import re

import pytest

from comfy_ui.prompts import enhance_prompt, list_styles
from comfy_ui.prompts.rules.vocabulary import contexts_of, subject_of
from comfy_ui.prompts.rules.word_senses import clear_words

# Prompt, the subject that the rules should see, and what a draft must not add (a regular
# expression). "other": no subject, so that the balanced style adds nothing.
SENSES = """\
she waves | portrait | water|sea|ripple|shore
a man waves goodbye | portrait | water|sea|ripple
waves against a lighthouse in a storm | landscape | fur|skin
sound waves on a screen | other | water|ripple
a wave of color | other | water|ripple
a woman with wavy hair | portrait | water
a computer mouse | other | fur|whisker|animal|wildlife
a wireless mouse and a keyboard | product | fur|whisker|wildlife
a mouse in a wheat field | animal | desk
a black square | other | street|house|wall|shutter
a red square on white | other | street|house|wall
an old town square with a market | city | fur
empty white room | interior | lying|worn|dust|objects|cups|books
a bare room | interior | lying|worn|dust|cups
an empty street at dawn | city | people|bicycle|signs of life|traffic
a clean modern kitchen | interior | worn|dust|lying
a deserted beach | landscape | people|figures
a modern glass skyscraper | city | weathered|worn|bicycle
a wax seal | other | skin|scars|wildlife|animal
a seal of approval | other | skin|scars|wildlife
a seal on the ice | animal | stamp
a boxing ring | other | backdrop|softbox|reflection
a ring of fire | other | backdrop|softbox
a gold ring with a ruby | product | fur
a bear hug | other | fur|whisker|wildlife
bear with me | other | fur|wildlife
a bear in a forest | animal | softbox
a teddy bear | other | fur|whisker|wildlife
a rubber duck | other | feather|barbs|wildlife
a duck on a pond | animal | softbox
a paper plane | other | sky|roadside|ground
a toy car on a carpet | other | road|low sun|evening sun
a bronze statue of a lion | other | fur|whisker|wildlife
a hot dog with mustard | other | fur|whisker|wildlife
a fish tank | other | scales|wildlife
a dragon fruit | food | scales
a desert eagle pistol | other | feather|sand|wildlife
a cat burglar | other | fur|whisker|wildlife
a cat asleep on a sofa | animal | bright eyes|eyes are bright
a fox jumps over a fence | animal | shallow depth of the room
the queen bee | animal | skin is|strands|fabric
a chess knight | other | skin|fabric|hair|metal|dents
a king size bed | other | skin|hair|fabric
a clock face | other | skin|hair|eyes
the face of a clock | other | skin|hair|eyes
a cliff face | other | skin|hair|eyes
a face with freckles | portrait | rock
a robot vacuum | other | skin|hair|dents
a tower computer | other | street|house|low sun
the bridge of a nose | other | street|house|walls
a bridge over a river | city | nose
a space bar on a keyboard | product | cosm|immense|stars|lamp|floor
a bar chart | other | lamp|floor|wood|room
a bar of soap | other | lamp|floor|wood|room
a bar with a bartender | interior | chart
a USB port | other | water|street|ripple
a glass of port wine | food | water|street|ripple
a port with fishing boats | city | wine
a field of study | other | grass|moss|ground
a field of sunflowers | landscape | street
a train of thought | other | track|rivets|soot
train your dragon | animal | track|rivets|soot
a steam train on a bridge | vehicle | fur
watch the sunset | other | softbox|backdrop
a leather watch on a wrist | product | fur
a fashion model on a runway | portrait | road
a model of a ship | other | skin|hair|fabric|road
a car model | other | skin|hair|fabric|road
a road bike | vehicle | moss|grass
a snow globe | other | drifted|crystals|wide view
a snow leopard | animal | wide view|drifted
a storm trooper | other | clouds|rain
a strawberry blonde woman | portrait | crumbs|table|homely
a chocolate labrador | other | crumbs|homely|table
an egg chair | product | crumbs|homely
a lemon yellow dress | other | crumbs|homely|table
an apple laptop | product | crumbs|homely
a lamp post | other | softbox|backdrop
a phone booth | other | softbox|backdrop
an oil lamp | product | brushwork on canvas|drawn
a fox sitting, no snow | animal | snow|white|cold
a beach without people | landscape | figures|gestures|people|skin
a man running in a park | portrait | head and shoulders|waist
a crowd of people | portrait | head and shoulders|waist|eyes
a laughing boy | portrait | thoughtful|calm
a sailboat | vehicle | road
a red tulip | plant | wide view|moss|bark|grass
wet hair | other | ground|street
a movie star | other | immense|stars
a bus stop | other | road dust|vehicle
a rose gold watch on a wrist | product | petals|veins
a memory card | other | faded|pinned
for the first time | other | clock|hourglass|steps
two triangles | other | window|street|skin
abstract shapes | other | window|street|skin
a plain white background | other | lamp|objects|dust
a hummingbird at a red flower | animal | wide view
a perfume bottle on black stone | product | church
a spaceship passing a nebula | space | road
an astronaut on a red planet | space | road
an apple | food | crumbs|warm browns|homely
a glass of red wine | food | crumbs|handmade|made by hand
a basket of vegetables at a market | food | crumbs|homely
an elf archer in a forest | portrait | head and shoulders|indoors
a viking with a braided beard | portrait | metal|dents
a giant robot in the city | portrait | skin|hair|gestures|cloth
a robot | portrait | skin|hair|fabric
a surgeon in an operating room | portrait | window|daylight|low sun|evening sun
a scientist in a laboratory | portrait | daylight|window|low sun|evening sun
a ballerina in an empty theater | portrait | daylight|window|open shade|low sun|evening sun
a crowd at a concert | portrait | daylight|window|open shade|low sun|evening sun
a football player scoring a goal | portrait | thoughtful|calm|unhurried|head and shoulders
a record player | other | skin|hair|fabric
a bride in a field | portrait | window|head and shoulders
a field of study in physics | other | grass|moss|ground
a clown with a sad face | portrait | rock
a horse galloping on a beach | animal | quiet
a lion cub yawning | animal | unhurried
a goldfish in a bowl | animal | table|crumbs
a volcano erupting | landscape | greens|vast, still
a thunderstorm over the prairie | landscape | sand|greens|vast
a cave with crystals | landscape | low sun|clouds|greens|haze
a field of lavender | landscape | distant blue
watercolor of a garden | landscape | vast
a mosque at sunset | landscape | dust hangs|bicycle
a castle on a hill | landscape | moss|bark
a subway station | interior | houses|low sun|evening sun|overcast|wood|daylight
the skyline of New York at dusk | city | street level|brick|shutter|bicycle
a dungeon | interior | daylight|windows|cream
a modern kitchen | interior | wood, cream
a fighter jet above the clouds | vehicle | road
jet black hair | other | road|sky|paint
a wristwatch | product | skin
a tennis racket | other | skin|hair""".splitlines()
ROWS = [tuple(part.strip() for part in row.split(" | ")) for row in SENSES]


def test_clear_words_of_prompt_give_its_subject() -> None:
    found = [(prompt, subject_of(clear_words(prompt))) for prompt, _, _ in ROWS]
    assert found == [(prompt, subject) for prompt, subject, _ in ROWS]


@pytest.mark.parametrize("style", ["balanced", "detailed", "photo", "cinematic"])
def test_enhance_prompt_adds_nothing_of_another_sense(style: str) -> None:
    for prompt, subject, forbidden in ROWS:
        wrong = re.compile(rf"\b(?:{forbidden})", re.IGNORECASE)
        for family, seed in itertools.product(("SDXL", "Flux.1"), range(6)):
            draft = enhance_prompt(
                prompt, family=family, style=style, strength="strong", seed=seed, model="rules"
            )
            added = draft.enhanced[len(prompt) :]
            assert not wrong.search(added), (prompt, added)
            if subject == "other" and style in ("balanced", "detailed"):
                assert added == "", prompt
                assert "subject" in draft.reason, prompt


def test_enhance_prompt_known_subject_gets_phrases_of_its_own() -> None:
    for prompt, subject, _ in ROWS:
        draft = enhance_prompt(
            prompt, family="SDXL", style="detailed", strength="strong", model="rules"
        )
        assert bool(draft.changes) == (subject != "other"), prompt


@pytest.mark.parametrize(
    ("prompt", "context"),
    [
        ("a cat on a windowsill in the rain", "rain"),
        ("a wet street at night", "rain"),
        ("a mountain lake", "water"),
        ("anime girl with an umbrella", "drawn"),
        ("oil painting of a storm at sea", "storm"),
        ("an empty white room", "bare"),
        ("a whale under the ice", "underwater"),
    ],
)
def test_contexts_of_clear_words_are_kept(prompt: str, context: str) -> None:
    assert context in contexts_of(clear_words(prompt))


@pytest.mark.parametrize("style", list_styles())
def test_enhance_prompt_unknown_subject_keeps_the_look_of_a_style(style: str) -> None:
    draft = enhance_prompt("two triangles", family="SDXL", style=style, model="rules")
    assert bool(draft.changes) == (style not in ("balanced", "detailed"))

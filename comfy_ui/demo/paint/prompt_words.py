"""The painter's vocabulary: words for scenes, moods, things and styles."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from itertools import pairwise

from .palettes import PALETTES, Palette

# Earlier words of a prompt weigh more: the subject usually comes first.
SCENES: dict[str, str] = {
    "sea": "sea ocean harbour harbor port bay beach coast shore wave waves boat boats ship ships "
    "sail sailing lake river water island lighthouse fjord lagoon pier marina regatta surf",
    "mountains": "mountain mountains peak peaks alps alpine valley valleys hill hills landscape "
    "canyon cliff cliffs ridge volcano glacier highlands countryside vista nature",
    "forest": "forest woods wood tree trees pine pines birch grove jungle woodland fir redwood "
    "bamboo rainforest deer fox wolf bear fern ferns",
    "city": "city cities skyline street streets building buildings skyscraper skyscrapers town "
    "cyberpunk urban downtown metropolis tokyo york alley architecture traffic car taxi robot rain",
    "desert": "desert dune dunes sand sahara oasis camel camels mars mesa savanna savannah",
    "space": "space galaxy galaxies nebula planet planets star stars cosmos cosmic universe moon "
    "astronaut spaceship spacecraft starship milky orbit comet asteroid black-hole supernova",
    "flowers": "flower flowers blossom blossoms bloom rose roses tulip tulips garden meadow poppy "
    "poppies bouquet petals peony dahlia sunflower sunflowers lotus lavender botanical plant leaf "
    "butterfly bee floral daisy orchid",
    "portrait": "portrait woman man girl boy face person people human model lady queen king "
    "princess prince warrior wizard witch samurai knight headshot selfie character elf child",
    "cat": "cat cats kitten kittens feline kitty tabby",
    "abstract": "abstract fluid marble silk ink liquid geometry geometric fractal pattern texture "
    "swirl swirls smoke flow waveform psychedelic minimal minimalist gradient wallpaper glass "
    "crystal energy dream surreal music sound logo product perfume food coffee",
}

MOODS: dict[str, str] = {
    "dusk": "dusk twilight evening blue-hour nightfall gloaming",
    "sunset": "sunset sundown sunsets",
    "dawn": "dawn sunrise morning daybreak",
    "day": "day daylight noon sunny midday summer clear bright spring",
    "golden": "golden gold honey warm cinematic afternoon amber",
    "night": "night midnight moon moonlight moonlit nocturnal starry lantern lanterns dark",
    "storm": "storm stormy rain rainy thunder overcast gloomy moody dramatic grey gray lightning",
    "winter": "winter snow snowy ice icy frozen frost cold arctic glacier",
    "autumn": "autumn fall october maple harvest orange rust",
    "forest": "green mossy moss lush spring-green jungle",
    "sea": "ocean turquoise blue azure tropical underwater",
    "desert": "desert sahara dune dunes mars arid",
    "neon": "neon cyberpunk synthwave vaporwave futuristic hologram cyber punk retrowave glowing",
    "pastel": "pastel soft dreamy gentle delicate kawaii candy airy",
    "rose": "pink rose roses blossom cherry sakura romantic valentine",
    "emerald": "emerald jade teal malachite jungle",
    "violet": "violet purple lavender lilac magic magical mystical amethyst fantasy indigo",
    "mono": "monochrome black-and-white noir bw grayscale greyscale charcoal",
    "sepia": "sepia vintage antique old retro",
    "ember": "fire flame flames lava ember embers volcano inferno hell dragon red crimson",
    "aurora": "aurora borealis northern-lights polar",
    "space": "space galaxy nebula cosmos cosmic universe",
}

THINGS: dict[str, str] = {
    "sun": "sun sunset sunrise sundown dawn",
    "moon": "moon moonlight moonlit",
    "clouds": "cloud clouds cloudy overcast storm stormy",
    "mist": "mist misty fog foggy haze hazy smoke steam ethereal",
    "stars": "star stars starry galaxy milky constellation",
    "boats": "boat boats ship ships sail sails sailing harbour harbor marina regatta yacht port",
    "lighthouse": "lighthouse beacon",
    "lamps": "lamp lamps lantern lanterns lights lit harbour harbor city festival village",
    "pines": "pine pines forest fir firs conifer woods spruce alpine trees",
    "snow": "snow snowy snowfall winter blizzard",
    "rain": "rain rainy raining wet downpour",
    "shafts": "shafts rays godrays sunbeams beams light volumetric",
    "birds": "bird birds gull gulls geese swallows",
    "planet": "planet planets saturn jupiter orbit moon",
    "aurora": "aurora borealis northern-lights",
    "fireflies": "firefly fireflies magic magical fairy enchanted glowing",
    "flowers": "flower flowers poppy poppies meadow blossom",
}

STYLES: dict[str, str] = {
    "oil": "oil painting painted impressionist impressionism monet gogh brush brushstrokes "
    "brushwork acrylic canvas expressionist",
    "watercolour": "watercolor watercolour aquarelle wash gouache ink-wash",
    "photo": "photo photograph photographic photorealistic realistic film dslr 35mm bokeh",
    "flat": "flat vector minimal minimalist poster screenprint illustration",
}

# The moods of a scene if no word sets one; the seed selects one.
DEFAULT_MOODS: dict[str, tuple[str, ...]] = {
    "sea": ("dusk", "sunset", "dawn", "sea", "golden"),
    "mountains": ("dawn", "golden", "dusk", "day", "winter"),
    "forest": ("forest", "golden", "autumn", "dawn"),
    "city": ("dusk", "neon", "night", "sunset"),
    "desert": ("desert", "sunset", "golden", "dusk"),
    "space": ("space", "violet", "aurora", "ember"),
    "flowers": ("rose", "pastel", "golden", "violet"),
    "portrait": ("dusk", "golden", "rose", "pastel", "sea"),
    "cat": ("sunset", "dusk", "golden", "night"),
    "abstract": ("sunset", "sea", "rose", "emerald", "violet", "ember", "dusk"),
}
# Scenes for empty prompts and those without a known word.
UNKNOWN = ("mountains", "abstract", "sea", "desert", "abstract", "forest", "mountains")


@dataclass(frozen=True, slots=True)
class Wish:
    """The scene, moods, things and style of a prompt."""

    scene: str
    palette: Palette
    moods: tuple[str, ...]
    things: frozenset[str]
    style: str
    unwanted: frozenset[str]

    def has(self, thing: str) -> bool:
        return thing in self.things


def _index(table: dict[str, str]) -> dict[str, tuple[str, ...]]:
    index: dict[str, tuple[str, ...]] = {}
    for name, words in table.items():
        for word in words.split():
            index[word] = (*index.get(word, ()), name)
    return index


_SCENE_OF = _index(SCENES)
_MOOD_OF = _index(MOODS)
_THING_OF = _index(THINGS)
_STYLE_OF = _index(STYLES)


def words(text: str) -> list[str]:
    """Split into lower-case words in order, with pairs such as ``blue-hour`` after their parts."""
    single = re.findall(r"[a-zà-ÿ0-9]+", text.lower())
    return [*single, *(f"{a}-{b}" for a, b in pairwise(single))]


def number(text: str, seed: int = 0) -> int:
    """Hash text and seed to a stable 64-bit number."""
    digest = hashlib.blake2b(
        f"{seed}\0{text}".encode("utf-8", "surrogatepass"), digest_size=8
    ).digest()
    return int.from_bytes(digest, "big")


def understand(prompt: str, negative: str, seed: int) -> Wish:
    """Parse a prompt to scene, moods, things and style; the seed fills the gaps."""
    prompt_words, refused = words(prompt), set(words(negative))
    scene = _best(prompt_words, _SCENE_OF)
    if scene is None:
        scene = UNKNOWN[number(prompt, seed) % len(UNKNOWN)]
    moods = _ranked([w for w in prompt_words if w not in refused], _MOOD_OF)[:2]
    if not moods:
        choices = DEFAULT_MOODS[scene]
        moods = [choices[number(prompt, seed) % len(choices)]]
    palette = PALETTES[moods[0]]
    if len(moods) > 1:
        palette = palette.toward(PALETTES[moods[1]], 0.35)
    turn = (number("hue", seed) % 2001 / 1000 - 1) * 9
    things = {thing for word in prompt_words for thing in _THING_OF.get(word, ())}
    unwanted = {thing for word in refused for thing in _THING_OF.get(word, ())} | refused
    return Wish(
        scene,
        palette.turned(0 if moods[0] in ("mono", "sepia") else turn),
        tuple(moods),
        frozenset(things - unwanted),
        _best(prompt_words, _STYLE_OF) or "",
        frozenset(unwanted),
    )


def _ranked(prompt_words: list[str], index: dict[str, tuple[str, ...]]) -> list[str]:
    scores: dict[str, float] = {}
    for position, word in enumerate(prompt_words):
        for name in index.get(word, ()):
            scores[name] = scores.get(name, 0.0) + 1.0 / (1.0 + 0.12 * position)
    return sorted(scores, key=lambda name: -scores[name])


def _best(prompt_words: list[str], index: dict[str, tuple[str, ...]]) -> str | None:
    ranked = _ranked(prompt_words, index)
    return ranked[0] if ranked else None

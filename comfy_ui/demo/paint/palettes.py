"""Palettes: what color the sky, the light and the land have in each mood."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .canvas import Colour, mix, rgb


@dataclass(frozen=True, slots=True)
class Palette:
    """``sky`` from the zenith to the horizon; ``far`` and ``near`` land; ``light`` of sun or moon;
    ``accent`` for lamps, flowers, sails; ``night`` from 0 to 1."""

    sky: tuple[Colour, ...]
    light: Colour
    far: Colour
    near: Colour
    accent: Colour
    night: float = 0.0

    @property
    def all(self) -> tuple[Colour, ...]:
        """From dark to light, for gradients."""
        colours = [*self.sky, self.light, self.far, self.near, self.accent]
        return tuple(sorted(colours, key=lambda c: 0.3 * c[0] + 0.59 * c[1] + 0.11 * c[2]))

    def turned(self, degrees: float, saturation: float = 1.0) -> Palette:
        """The same with all hues turned a little."""

        def turn(colour: Colour) -> Colour:
            grey = 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]
            u, v = colour[0] - grey, colour[2] - grey
            angle = np.deg2rad(degrees)
            u, v = u * np.cos(angle) - v * np.sin(angle), u * np.sin(angle) + v * np.cos(angle)
            red, blue = grey + u * saturation, grey + v * saturation
            green = (grey - 0.3 * red - 0.11 * blue) / 0.59
            r, g, b = (float(np.clip(c, 0, 1)) for c in (red, green, blue))
            return (r, g, b)

        return replace(
            self,
            sky=tuple(turn(c) for c in self.sky),
            light=turn(self.light),
            far=turn(self.far),
            near=turn(self.near),
            accent=turn(self.accent),
        )

    def toward(self, other: Palette, part: float) -> Palette:
        """Between this one and another with as many sky colors."""
        return Palette(
            tuple(mix(a, b, part) for a, b in zip(self.sky, other.sky, strict=True)),
            mix(self.light, other.light, part),
            mix(self.far, other.far, part),
            mix(self.near, other.near, part),
            mix(self.accent, other.accent, part),
            self.night + (other.night - self.night) * part,
        )


def _palette(sky: str, light: str, far: str, near: str, accent: str, night: float = 0.0) -> Palette:  # noqa: PLR0917 -- drawn once, in this order
    colours = tuple(rgb(c) for c in sky.split())
    return Palette(colours, rgb(light), rgb(far), rgb(near), rgb(accent), night)


# Each sky has four stops, so that two palettes can be mixed.
PALETTES = {
    "dusk": _palette("1d2a55 5c4a7d c9746c f6b77c", "ffe0a8", "6d5478", "1a1830", "ffb45e", 0.35),
    "sunset": _palette("2b3a6b 8a5582 e8735a ffc067", "fff0b8", "8d5868", "2a1a2c", "ff7a45", 0.15),
    "dawn": _palette("7fa3c7 b9bfd3 f0c8bd fbe3c0", "fff6dc", "98a3bb", "39455e", "f29a7e"),
    "day": _palette("2f6fb2 5f9fd0 a5cce2 e2eff0", "fffbe8", "86a9bd", "2f4d40", "f2b84b"),
    "golden": _palette("6d83a0 b4a699 ecc485 fde6ad", "fff3c9", "a58e72", "40331f", "e78f2e"),
    "night": _palette("060b1f 0d1a3c 1d3460 3d5a85", "e9eefc", "1c2e52", "050913", "ffc978", 1.0),
    "storm": _palette("2a333d 46535f 6e7d86 a3aeae", "e4ebe6", "56646c", "1a2024", "c9d6d0", 0.2),
    "winter": _palette("8fb0cc b5cbdd d9e4ec f4f4f2", "ffffff", "a9bfd2", "4a6078", "d98880"),
    "autumn": _palette("8aa0ae c3b79d e8c48c f7dfae", "fff1cc", "b4865a", "4a2714", "d95d20"),
    "forest": _palette("94b09a b9cdaa dbe0b4 f1eecb", "fdf8d8", "7d9a7c", "14261b", "e0b64d"),
    "sea": _palette("1f5f8f 4d96b5 9ccdd0 e8f0dc", "fff9e0", "5f93a0", "123244", "ff8f5c"),
    "desert": _palette("4f7da6 9fb4bd ebcfa6 fbe6c2", "fff4d6", "c98f66", "6b3320", "d4542c"),
    "neon": _palette("0b0720 2a0f4f 6d1f7e d9488f", "ff8fd0", "3a1a63", "080414", "2fe6e6", 1.0),
    "pastel": _palette("b7c9e8 d6cde9 f3cfd8 fbe7cf", "fffaf0", "c3b4d3", "7f7397", "f3a6a0"),
    "rose": _palette("6e3b5a a9567a e29aa5 f9d5cf", "fff0ea", "a8607c", "3c1a30", "ff6f91"),
    "emerald": _palette("04302f 0d5c52 3f9c7c b6dfb3", "f2ffd9", "1f6a5c", "03201f", "ffd166", 0.2),
    "violet": _palette("1a1140 3f2a7a 7b5bb5 c7a8df", "f4e8ff", "4a3788", "0f0a26", "ffb3de", 0.5),
    "mono": _palette("2b2b2d 5a5a5c 9c9c9c dcdcda", "ffffff", "7c7c7c", "161617", "bdbdbd"),
    "sepia": _palette("5c4a36 8c7252 c2a57c eed9b3", "fff3d6", "8a6f50", "2a2016", "b5793a"),
    "ember": _palette("14060a 3d0d10 8f2413 f0762a", "ffd27a", "5a1712", "0a0305", "ff5a1f", 0.7),
    "aurora": _palette("040a1c 0a2036 12485a 2c7f79", "d8fff0", "0f2c44", "03070f", "5dffb0", 1.0),
    "space": _palette("03040c 0b0b26 241a4d 6a2f6b", "fff1e0", "2b1d55", "020208", "ff8a5c", 1.0),
}

"""Paints the small pictures of the shipped styles, once, into assets/styles.

The embedded engine paints the scene. It knows few styles, so the look of each is finished here: a
picture in the picker must tell styles apart, and no model may be needed to make it.

python -m tests.prompts.style_pictures
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from comfy_ui.client import ComfyClient
from comfy_ui.demo import DemoServer
from comfy_ui.prompts.styles import shipped_styles, style_picture

SIDE = 192
Picture = Image.Image
Finish = Callable[[Picture], Picture]


def as_painted(picture: Picture) -> Picture:
    return picture


def coloured(picture: Picture, strength: float) -> Picture:
    return ImageEnhance.Color(picture).enhance(strength)


def toned(dark: str, light: str) -> Finish:
    """In two inks."""
    return lambda p: ImageOps.colorize(ImageOps.autocontrast(p.convert("L"), 1), dark, light)


def grainy(picture: Picture, strength: float = 16) -> Picture:
    noise = np.random.default_rng(7).normal(0, strength, (*picture.size[::-1], 1))
    return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype("uint8"))


def lines(picture: Picture, blur: float = 1.2) -> Picture:
    """Dark lines on white."""
    smooth = ImageOps.autocontrast(picture.convert("L"), 1).filter(ImageFilter.GaussianBlur(blur))
    edges = smooth.filter(ImageFilter.FIND_EDGES).crop((2, 2, *(side - 2 for side in smooth.size)))
    drawn = ImageOps.invert(ImageOps.autocontrast(edges, 2)).point(lambda v: min(255, v * 5 // 4))
    return drawn.resize(picture.size)


def levels(picture: Picture, number: int) -> Picture:
    smooth = picture.filter(ImageFilter.ModeFilter(9)).filter(ImageFilter.MedianFilter(5))
    return smooth.quantize(number, kmeans=3).convert("RGB").filter(ImageFilter.ModeFilter(7))


def hatched(picture: Picture) -> Picture:
    grey = np.asarray(ImageOps.autocontrast(picture.convert("L"), 1)).astype(int)
    y, x = np.indices(grey.shape)
    ink = ((x + y) % 8 < 2) & (grey < 150) | ((x - y) % 8 < 2) & (grey < 85)
    paper = np.where(ink, 40, 250).astype("uint8")
    return ImageChops.multiply(Image.fromarray(paper), lines(picture)).convert("RGB")


def woodcut(picture: Picture) -> Picture:
    grey = np.asarray(ImageOps.autocontrast(picture.convert("L"), 1)).astype(float)
    y, x = np.indices(grey.shape)
    carved = 128 + 95 * np.sin((y + 3 * np.sin(x / 17)) * 1.05)
    block = Image.fromarray(np.where(grey > carved, 255, 0).astype("uint8"))
    return toned("#2b1a14", "#efe2c8")(block)


def pixels(picture: Picture) -> Picture:
    tiny = picture.resize((40, 40), Image.Resampling.BOX).quantize(12, kmeans=2).convert("RGB")
    return tiny.resize(picture.size, Image.Resampling.NEAREST)


def facets(picture: Picture, step: int = 32) -> Picture:
    source = np.asarray(picture).astype(float)
    out = np.zeros_like(source)
    y, x = np.indices(source.shape[:2])
    for top in range(0, source.shape[0], step):
        for left in range(0, source.shape[1], step):
            cell = (slice(top, top + step), slice(left, left + step))
            inner = (x[cell] - left) > (y[cell] - top)
            for half in (inner, ~inner):
                shade = 1.07 if half is inner else 0.96
                out[cell][half] = source[cell][half].mean(0) * shade
    return Image.fromarray(np.clip(out, 0, 255).astype("uint8"))


def blocks(picture: Picture, number: int = 6) -> Picture:
    """A model town: each block as high as the picture is bright there."""
    small = coloured(picture, 1.5).resize((number, number), Image.Resampling.BOX)
    bright = small.convert("L")
    made = Image.new("RGB", picture.size, "#e9e4f0")
    draw = ImageDraw.Draw(made)
    half = picture.width / (2 * number + 2)
    for row in range(number):
        for column in range(number):
            x = picture.width / 2 + (column - row) * half
            y = picture.height * 0.36 + (column + row) * half / 2
            tall = ((column * 5 + row * 3) % 4 + 1) / 180
            up = 12 + float(bright.getpixel((column, row))) ** 1.6 * tall
            colour = np.array(small.getpixel((column, row)), float)
            left, right = (x - half, y + half / 2), (x + half, y + half / 2)
            foot = (x, y + half)
            for factor, face in (
                (0.72, [left, foot, (foot[0], foot[1] - up), (left[0], left[1] - up)]),
                (0.88, [right, foot, (foot[0], foot[1] - up), (right[0], right[1] - up)]),
                (1.1, [(px, py - up) for px, py in ((x, y), right, foot, left)]),
            ):
                draw.polygon(face, tuple(int(min(255, v)) for v in colour * factor))
    return made


def layered(picture: Picture) -> Picture:
    flat = levels(picture, 6)
    shade = flat.convert("L").filter(ImageFilter.GaussianBlur(5))
    fallen = ImageOps.autocontrast(ImageChops.offset(shade, 5, 5)).point(lambda v: 160 + v * 3 // 8)
    return ImageChops.multiply(flat, fallen.convert("RGB"))


def clay(picture: Picture) -> Picture:
    soft = picture.filter(ImageFilter.MedianFilter(9)).filter(ImageFilter.SMOOTH_MORE)
    relief = soft.convert("L").filter(ImageFilter.GaussianBlur(2)).filter(ImageFilter.EMBOSS)
    lit = ImageChops.overlay(soft, Image.merge("RGB", [ImageOps.autocontrast(relief, 1)] * 3))
    return ImageEnhance.Color(lit).enhance(1.3)


def framed(picture: Picture) -> Picture:
    poster = levels(ImageEnhance.Color(picture).enhance(1.5), 6)
    margin = picture.width // 12
    small = poster.resize((picture.width - 2 * margin,) * 2)
    return ImageOps.expand(small, margin, "#f3ead6")


def comic(picture: Picture) -> Picture:
    inked = lines(picture).point(lambda v: 0 if v < 190 else 255).filter(ImageFilter.MinFilter(3))
    flat = levels(ImageEnhance.Color(picture).enhance(1.6), 8)
    return ImageChops.multiply(flat, inked.convert("RGB"))


def analog(picture: Picture) -> Picture:
    faded = ImageEnhance.Contrast(ImageEnhance.Color(picture).enhance(0.75)).enhance(0.85)
    edge = Image.linear_gradient("L").rotate(90).resize(picture.size)
    leak = edge.point(lambda v: max(0, v - 150) * 2)
    warm = Image.composite(Image.new("RGB", picture.size, "#ff9d54"), faded, leak)
    return grainy(Image.blend(faded, warm, 0.7))


def storybook(picture: Picture) -> Picture:
    soft = ImageEnhance.Color(picture.filter(ImageFilter.ModeFilter(11))).enhance(1.25)
    pencil = Image.blend(Image.new("L", picture.size, 255), lines(picture, 2), 0.45)
    return grainy(ImageChops.multiply(soft, pencil.convert("RGB")), 10)


def blueprint(picture: Picture) -> Picture:
    drawn = toned("#eaf2ff", "#1d4a8c")(lines(picture))
    grid = np.asarray(drawn).copy()
    grid[::48, :] = grid[:, ::48] = (70, 115, 178)
    return Image.fromarray(grid)


def noir(picture: Picture) -> Picture:
    return grainy(ImageOps.autocontrast(picture.convert("L"), 3).convert("RGB"), 9)


def street(picture: Picture) -> Picture:
    return grainy(coloured(picture, 0.35), 10)


def close(picture: Picture) -> Picture:
    """A corner of it, where a flower is."""
    return picture.crop((0, picture.height * 3 // 5, picture.width * 2 // 5, picture.height))


def low_poly(picture: Picture) -> Picture:
    return facets(ImageEnhance.Contrast(coloured(picture, 1.4)).enhance(1.35), 24)


FINISHES: dict[str, tuple[str, Finish]] = {
    "film noir": ("a city street at night, rain, noir, black-and-white", noir),
    "analog film": ("a lighthouse on a rocky coast, sunset, clouds", analog),
    "studio portrait": ("portrait of a woman, dusk", as_painted),
    "street photography": ("a city street, gloomy day, overcast", street),
    "macro": ("a rose, morning", close),
    "watercolour": ("watercolour painting of a harbour, golden", as_painted),
    "oil painting": ("oil painting of a harbour, sunset", as_painted),
    "ink drawing": ("mountains, day, pines", hatched),
    "woodcut": ("a lighthouse on a rocky coast, sunset, clouds", woodcut),
    "comic": ("a city skyline at sunset", comic),
    "pixel art": ("a lighthouse by the sea, sunset", pixels),
    "isometric": ("a meadow of flowers, rose, golden, sunset", blocks),
    "claymation": ("a cat, golden", clay),
    "paper cut": ("mountains, dawn, mist, pines", layered),
    "blueprint": ("a lighthouse by the sea, day", blueprint),
    "low poly": ("mountains, sunset, alps", low_poly),
    "neon night": ("a cyberpunk city at night, neon, rain", as_painted),
    "golden hour": ("a meadow of poppies, golden, sun", as_painted),
    "storybook": ("a forest, autumn, fireflies", storybook),
    "vintage travel poster": ("a lighthouse on a coast, sunset, flat poster", framed),
}


def main() -> None:
    """Draw the image of each style again."""
    server = DemoServer(speed="instant")
    with server.in_thread(), ComfyClient(url=server.url) as client:
        for name in shipped_styles():
            scene, finish = FINISHES[name]
            result = client.generate_image(scene, preset="sdxl", seed=11, width=768, height=768)
            with Image.open(io.BytesIO(client.download(result.images[0]))) as picture:
                # The engine signs in the lower right corner; a tile is no place for that.
                whole = picture.convert("RGB").crop((0, 0, 736, 736)).resize((384, 384))
            small = finish(whole).convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            path = style_picture(name)
            path.parent.mkdir(exist_ok=True)
            small.save(path, quality=70, method=6)


if __name__ == "__main__":
    main()

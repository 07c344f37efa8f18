"""How things look in a video: colours, shapes, camera.

Each kind of object keeps a loose colour family of its own (docs/playhouse.md has the table), so that it can
be told apart in a small picture; walls, floors, skin and clothes vary freely. Colours are 8-bit RGB.
Camera offsets are pixels of the canvas, frequencies are in Hz.
"""

import colorsys
from dataclasses import dataclass

import numpy as np

Color = tuple[int, int, int]

# Hue, saturation and value ranges of each family; one of the ranges is drawn.
_Range = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
FAMILIES: dict[str, tuple[_Range, ...]] = {
    "ball": (((-0.02, 0.065), (0.8, 0.95), (0.85, 1.0)),),
    "cup": (((0.48, 0.62), (0.55, 0.9), (0.6, 0.95)), ((0.55, 0.6), (0.02, 0.1), (0.93, 1.0))),
    "bag": (((0.27, 0.42), (0.5, 0.85), (0.4, 0.75)),),
    "book": (((0.74, 0.85), (0.45, 0.8), (0.45, 0.8)), ((0.125, 0.15), (0.75, 0.95), (0.85, 0.98))),
    "door": (((0.04, 0.085), (0.45, 0.7), (0.38, 0.66)), ((0.08, 0.12), (0.03, 0.12), (0.88, 0.97))),
    "window": (((0.08, 0.12), (0.02, 0.1), (0.9, 0.98)), ((0.07, 0.1), (0.3, 0.5), (0.6, 0.8))),
    "lamp": (((0.105, 0.15), (0.35, 0.7), (0.88, 0.98)),),
    "sofa": (((0.9, 1.0), (0.4, 0.65), (0.45, 0.7)), ((0.58, 0.68), (0.25, 0.5), (0.4, 0.62))),
    "chair": (((0.05, 0.1), (0.55, 0.8), (0.5, 0.75)), ((0.55, 0.65), (0.1, 0.3), (0.22, 0.38))),
    "table": (((0.07, 0.11), (0.3, 0.55), (0.66, 0.88)),),
}
HAIR_STYLES = ("short", "long", "bun", "cap", "bald")
WALL_PATTERNS = ("plain", "stripes", "dots", "panels")
OUTSIDES = ("garden", "street", "corridor")


@dataclass(frozen=True, slots=True)
class PersonLook:
    """One person's appearance; `height` is the size around 1."""

    skin: Color
    shirt: Color
    long_sleeves: bool
    legs: Color
    skirt: bool
    shoes: Color
    hair: Color
    hair_style: str
    height: float
    girth: float


@dataclass(frozen=True, slots=True)
class CameraLook:
    """Where the camera looks and how it records.

    Attributes:
        zoom: below 1 shows more of the canvas.
        offset: the view's middle, from the canvas' middle.
        sway: size of the slow drift and of the hand's shake.
        rates: frequencies of both.
        gain: brightness of the lit room, per channel.
        dark_gain: factor on `gain` with the lamp off, per channel.
        noise: standard deviation of the sensor's noise, in 8-bit levels.
    """

    zoom: float
    offset: tuple[float, float]
    sway: tuple[float, float]
    rates: tuple[float, float]
    gain: tuple[float, float, float]
    dark_gain: tuple[float, float, float]
    noise: float


@dataclass(frozen=True, slots=True)
class Look:
    """All of a video's appearance; `objects` has a colour for each kind of object."""

    wall: Color
    wall_pattern: str
    floor: Color
    planks: bool
    trim: Color
    rug: Color | None
    outside: str
    pictures: int
    plant: bool
    round_shade: bool
    armrests: int
    objects: dict[str, Color]
    people: tuple[PersonLook, ...]
    camera: CameraLook
    clutter_seed: int


def hsv(hue: float, saturation: float, value: float) -> Color:
    """8-bit RGB of a colour given by hue (any turn), saturation and value in 0 to 1."""
    r, g, b = colorsys.hsv_to_rgb(hue % 1.0, min(1.0, max(0.0, saturation)), min(1.0, max(0.0, value)))
    return round(r * 255), round(g * 255), round(b * 255)


def shade(color: Color, factor: float) -> Color:
    """`color` darker (factor < 1) or lighter, towards white (factor > 1)."""
    if factor <= 1.0:
        return (round(color[0] * factor), round(color[1] * factor), round(color[2] * factor))
    w = min(1.0, factor - 1.0)
    return tuple(round(c + (255 - c) * w) for c in color)  # type: ignore[return-value]


def draw_look(people: int, rng: np.random.Generator) -> Look:
    """A random appearance for a video with `people` persons."""
    wall_hue = float(rng.random())
    return Look(
        wall=hsv(wall_hue, _in(rng, 0.06, 0.3), _in(rng, 0.76, 0.93)),
        wall_pattern=str(rng.choice(WALL_PATTERNS)),
        floor=hsv(_in(rng, 0.04, 0.12), _in(rng, 0.15, 0.5), _in(rng, 0.45, 0.78)),
        planks=bool(rng.random() < 0.65),
        trim=hsv(wall_hue, _in(rng, 0.02, 0.15), _in(rng, 0.86, 0.97)),
        rug=hsv(float(rng.random()), _in(rng, 0.15, 0.45), _in(rng, 0.5, 0.8))
        if rng.random() < 0.5
        else None,
        outside=str(rng.choice(OUTSIDES)),
        pictures=int(rng.integers(0, 4)),
        plant=bool(rng.random() < 0.5),
        round_shade=bool(rng.random() < 0.4),
        armrests=int(rng.integers(0, 2)),
        objects={kind: _family_color(kind, rng) for kind in FAMILIES},
        people=tuple(_person(rng) for _ in range(people)),
        camera=_camera(rng),
        clutter_seed=int(rng.integers(2**31)),
    )


def _in(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def _family_color(kind: str, rng: np.random.Generator) -> Color:
    ranges = FAMILIES[kind]
    hue, saturation, value = ranges[int(rng.integers(len(ranges)))]
    return hsv(_in(rng, *hue), _in(rng, *saturation), _in(rng, *value))


def _person(rng: np.random.Generator) -> PersonLook:
    skin_value = _in(rng, 0.38, 0.97)
    dark = rng.random() < 0.7
    return PersonLook(
        skin=hsv(_in(rng, 0.055, 0.085), _in(rng, 0.28, 0.36) + 0.35 * (0.97 - skin_value), skin_value),
        shirt=hsv(float(rng.random()), _in(rng, 0.2, 0.75), _in(rng, 0.45, 0.95)),
        long_sleeves=bool(rng.random() < 0.55),
        legs=hsv(float(rng.choice([0.6, 0.62, 0.08, 0.0, 0.3])), _in(rng, 0.08, 0.5), _in(rng, 0.2, 0.6)),
        skirt=bool(rng.random() < 0.2),
        shoes=hsv(float(rng.random()), _in(rng, 0.1, 0.5), _in(rng, 0.15, 0.5)),
        hair=hsv(
            _in(rng, 0.03, 0.12), _in(rng, 0.3, 0.75), _in(rng, 0.1, 0.35) if dark else _in(rng, 0.5, 0.85)
        ),
        hair_style=str(rng.choice(HAIR_STYLES, p=[0.36, 0.28, 0.16, 0.12, 0.08])),
        height=_in(rng, 0.94, 1.05),
        girth=_in(rng, 0.9, 1.2),
    )


def _camera(rng: np.random.Generator) -> CameraLook:
    brightness = _in(rng, 0.86, 1.06)
    warmth = _in(rng, -0.05, 0.05)
    dark = _in(rng, 0.52, 0.64)
    return CameraLook(
        zoom=_in(rng, 0.89, 0.99),
        offset=(_in(rng, -9.0, 9.0), _in(rng, -6.0, 8.0)),
        sway=(_in(rng, 0.0, 7.0), _in(rng, 0.0, 0.8)),
        rates=(_in(rng, 0.03, 0.1), _in(rng, 0.6, 1.4)),
        gain=(brightness * (1 + warmth), brightness, brightness * (1 - warmth)),
        dark_gain=(dark * 0.9, dark, dark * 1.16),
        noise=_in(rng, 1.0, 4.0),
    )

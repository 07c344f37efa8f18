"""A line of text across the lower edge of pictures."""

import math
from bisect import bisect_right
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_LINES = 22  # that would fit into the height of a picture
_SMALLEST = 9  # pixels
_SHADE = 0.6  # how dark the strip behind the text is
_ELLIPSIS = "..."


class Caption:
    """What is drawn on every picture of one hit: `text` on the left, cut where it is too long, and `times` on
    the right.

    The letters are those of the font that comes with Pillow.
    """

    def __init__(self, text: str, times: str, width: int, height: int) -> None:
        font = ImageFont.load_default(max(_SMALLEST, round(height / _LINES)))
        edge = max(2, round(height / 60))
        line = math.ceil(ImageDraw.Draw(Image.new("L", (1, 1))).textbbox((0, 0), "Ag", font)[3] * 1.15)
        strip = Image.new("L", (width, min(height, line + 2 * edge)), 0)
        draw = ImageDraw.Draw(strip)
        right = width - edge - draw.textlength(times, font)
        text = _cut(text, right - 3 * edge, lambda part: draw.textlength(part, font))
        draw.text((edge, edge), text, 255, font)
        draw.text((max(edge, right), edge), times, 255, font)
        letters = np.asarray(strip, np.float32)[..., None] / 255
        self._kept = (1 - letters) * (1 - _SHADE)
        self._drawn = letters * 255

    def draw(self, picture: np.ndarray) -> None:
        """Onto a picture, (height, width, 3) uint8, in place."""
        strip = picture[-len(self._kept) :]
        strip[:] = (strip * self._kept + self._drawn).round().astype(np.uint8)


def _cut(text: str, room: float, length: Callable[[str], float]) -> str:
    """As much of a text as fits."""
    if length(text) <= room:
        return text
    fits = bisect_right(range(len(text)), room, key=lambda count: length(text[:count] + _ELLIPSIS)) - 1
    return text[:fits] + _ELLIPSIS if fits > 0 else ""

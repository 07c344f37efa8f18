"""The pictures of concepts.md, drawn from the code that they explain where there is such code.

    python docs/pictures.py

writes docs/concept-NAME-light.svg and -dark.svg. Plain SVG with a transparent background; the same code gives
the same bytes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmn_index.proposals import ProposalGrid
from mmn_index.windows import WindowRule

WIDTH = 440  # of every picture, in pixels: letters stay readable on a phone


@dataclass(frozen=True)
class Palette:
    """Colours that are read on one of the two backgrounds."""

    text: str
    muted: str
    line: str
    blue: str
    orange: str
    green: str


PALETTES = {
    "light": Palette("#1f2430", "#5a6170", "#b9bec8", "#1f6f9f", "#b4501a", "#1b7f5a"),
    "dark": Palette("#e6e9f0", "#aab1bf", "#545b69", "#7cc0ea", "#f0a070", "#6fd0a8"),
}


@dataclass
class Canvas:
    """Elements of an SVG, in the order in which they are drawn."""

    palette: Palette
    height: int
    parts: list[str] = field(default_factory=list)

    def text(
        self, x: float, y: float, words: str, colour: str = "", anchor: str = "start", size: int = 14
    ) -> None:
        """One line of text, its base line at `y`."""
        looks = f'fill="{colour or self.palette.text}" text-anchor="{anchor}" font-size="{size}"'
        self.parts.append(f'<text x="{x:g}" y="{y:g}" {looks}>{words}</text>')

    def box(
        self, x: float, y: float, width: float, height: float, colour: str, opacity: float = 1, rim: str = ""
    ) -> None:
        """A filled rectangle, with a rim if one is named."""
        edge = f' stroke="{rim}" stroke-width="1.5"' if rim else ""
        self.parts.append(
            f'<rect x="{x:.5g}" y="{y:.5g}" width="{width:.5g}" height="{height:.5g}" rx="2" fill="{colour}"'
            f' fill-opacity="{opacity:g}"{edge}/>'
        )

    def line(
        self, points: Sequence[tuple[float, float]], colour: str, width: float = 1.5, dash: str = ""
    ) -> None:
        """A line through points."""
        places = " ".join(f"{x:.5g},{y:.5g}" for x, y in points)
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(
            f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="{width:g}"{dashed}/>'
        )

    def dot(self, x: float, y: float, colour: str, radius: float = 5, hollow: bool = False) -> None:
        """A point; a hollow one is only a ring."""
        looks = f'fill="{"none" if hollow else colour}" stroke="{colour}" stroke-width="1.5"'
        self.parts.append(f'<circle cx="{x:.5g}" cy="{y:.5g}" r="{radius:g}" {looks}/>')

    def svg(self, title: str) -> str:
        """The file."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" viewBox="0 0 {WIDTH} {self.height}" '
            f'font-family="system-ui, sans-serif" role="img">\n<title>{title}</title>'
        )
        return "\n".join([head, *self.parts, "</svg>\n"])


def _map(canvas: Canvas) -> None:
    """The cells of a small map, and the moment that one of them is."""
    colours, grid = canvas.palette, ProposalGrid(16, (7, 4))
    side, left, top = 18, 86, 34
    first, last = 4, 9
    for i, j in grid.cells.tolist():
        chosen = (i, j) == (first, last)
        colour = colours.orange if chosen else colours.blue
        canvas.box(left + j * side, top + i * side, side - 2, side - 2, colour, 1 if chosen else 0.35)
    canvas.text(left + 8 * side, 20, "ends with clip", colours.muted, "middle")
    canvas.text(6, top + 92, "begins", colours.muted)
    canvas.text(6, top + 110, "with clip", colours.muted)
    strip = top + 16 * side + 16
    middle = top + first * side + side / 2
    canvas.line([(left - 6, middle), (left + last * side - 2, middle)], colours.orange, dash="3 3")
    end = left + (last + 0.5) * side - 1
    canvas.line([(end, middle + side / 2), (end, strip)], colours.orange, dash="3 3")
    for clip in range(16):
        inside = first <= clip <= last
        colour = colours.orange if inside else colours.line
        canvas.box(left + clip * side, strip, side - 2, 26, colour, 0.9 if inside else 0.6)
    canvas.text(6, strip + 18, "video", colours.muted)
    middle = left + (first + last + 1) / 2 * side
    canvas.text(middle, strip + 46, "one moment, clips 5 to 10", colours.orange, "middle")


def _spaces(canvas: Canvas) -> None:
    """A sentence among moments, in the space of all videos and in that of one."""
    colours = canvas.palette
    across = {"a": (-14, 31, -74, 70, 97), "b": (18, -62, -88, 84)}  # degrees from the sentence, by video
    within = {"a": (-9, 14, 27, 45, 66, 90)}
    for centre, title, under, videos in (
        (110, "contrastive space", "which moments of all videos?", across),
        (330, "IoU space", "which start and end?", within),
    ):
        canvas.text(centre, 20, title, anchor="middle", size=15)
        canvas.text(centre, 206, under, colours.muted, "middle", 13)
        canvas.line(_arc(centre, 160, 96), colours.line)
        for video, angles in videos.items():
            for angle in angles:
                x, y = _on(centre, 160, 96, angle)
                canvas.dot(x, y, colours.blue if video == "a" else colours.green)
        x, y = _on(centre, 160, 96, 0)
        canvas.line([(centre, 160), (x, y + 8)], colours.orange, 2)
        canvas.line([(x - 5, y + 15), (x, y + 6), (x + 5, y + 15)], colours.orange, 2)
        canvas.text(centre + 8, 146, "sentence", colours.orange, size=13)
    for x, colour, what in (
        (54, colours.blue, "moments of one video"),
        (240, colours.green, "of another video"),
    ):
        canvas.dot(x, 231, colour)
        canvas.text(x + 12, 236, what, colours.muted, size=13)


def _on(x: float, y: float, radius: float, angle: float) -> tuple[float, float]:
    """The place at an angle from straight up, in degrees."""
    turn = math.radians(angle)
    return x + radius * math.sin(turn), y - radius * math.cos(turn)


def _arc(x: float, y: float, radius: float) -> list[tuple[float, float]]:
    return [_on(x, y, radius, angle) for angle in range(-100, 101, 4)]


def _certificate(canvas: Canvas) -> None:
    """Upper bounds of all moments in falling order; scores of those that were computed."""
    colours, left, floor = canvas.palette, 30, 190
    step, scored, shown = 13.0, 12, 3
    bounds = [40 + 128 * math.exp(-0.115 * place) for place in range(30)]
    falls = [9, 30, 4, 26, 38, 12, 33, 8, 22, 15, 28, 10]
    scores = [bound - fall for bound, fall in zip(bounds, falls, strict=False)]
    best = sorted(scores, reverse=True)[:shown]
    for place, bound in enumerate(bounds):
        x, known = left + place * step, place < scored
        colour, opacity = (colours.blue, 0.25) if known else (colours.line, 0.5)
        canvas.box(x, floor - bound, step - 3, bound, colour, opacity)
        if known:
            colour = colours.orange if scores[place] in best else colours.blue
            canvas.dot(x + step / 2 - 1.5, floor - scores[place], colour, 4)
    last = floor - best[-1]
    canvas.line([(left, last), (left + 30 * step, last)], colours.orange, dash="4 3")
    canvas.text(left + 30 * step, last - 8, "score of the last hit", colours.orange, "end", 13)
    canvas.text(left + 4, 16, "bar: upper bound; dot: score", colours.muted, size=13)
    border = left + scored * step - 1.5
    canvas.line([(border, 34), (border, floor + 26)], colours.muted, 1, "2 3")
    canvas.text(border - 8, floor + 20, "scored", colours.muted, "end", 13)
    canvas.text(border + 8, floor + 20, "bound too low: no score needed", colours.muted, size=13)


def _hub(canvas: Canvas) -> None:
    """Two moments, ranked before and after what they have of every sentence is taken off."""
    colours, scale, strength = canvas.palette, 340, 0.5
    moments = (("the moment that is meant", 0.62, 0.20), ("a hub, near to every sentence", 0.68, 0.50))
    for number, (name, cosine, near) in enumerate(moments):
        y, taken = 22 + number * 92, strength * near
        canvas.text(20, y, name)
        canvas.box(20, y + 10, cosine * scale, 20, colours.blue, 0.35)
        canvas.text(28 + cosine * scale, y + 25, f"cosine {cosine:.2f}", colours.muted, size=13)
        colour = colours.blue if number else colours.orange
        canvas.box(20, y + 36, (cosine - taken) * scale, 20, colour, 0.9)
        canvas.box(20 + (cosine - taken) * scale, y + 36, taken * scale, 20, "none", rim=colours.line)
        canvas.text(28 + cosine * scale, y + 51, f"after: {cosine - taken:.2f}", size=13)
    canvas.text(20, 204, "after = cosine - 0.5 h, with h = 0.20 and h = 0.50", colours.muted, size=13)


def _confidence(canvas: Canvas) -> None:
    """A curve from evidence to probability, with the hits that it was fitted to."""
    colours, left, top, width, height = canvas.palette, 60, 16, 350, 150
    curve = [
        (left + width * x / 100, top + height * (1 - 1 / (1 + math.exp(-(x - 52) / 9)))) for x in range(101)
    ]
    canvas.line([(left, top), (left, top + height), (left + width, top + height)], colours.line)
    for name, share in (("1", 1.0), ("0.5", 0.5), ("0", 0.0)):
        canvas.text(left - 8, top + height * (1 - share) + 5, name, colours.muted, "end", 13)
    for place in (38, 49, 56, 61, 66, 70, 76, 81, 88, 94):
        canvas.dot(left + width * place / 100, top, colours.blue)
    for place in (5, 11, 17, 22, 26, 31, 35, 41, 46, 54, 62):
        canvas.dot(left + width * place / 100, top + height, colours.green, hollow=True)
    canvas.line(curve, colours.orange, 2.5)
    middle = top + height / 2
    canvas.line([(left, middle), (left + width, middle)], colours.muted, 1, "3 3")
    canvas.text(left + width, middle - 8, "shown", colours.muted, "end", 13)
    canvas.text(left + width, middle + 20, "below 0.5: no match", colours.muted, "end", 13)
    canvas.text(left + width / 2, top + height + 26, "evidence for a hit", colours.muted, "middle", 13)
    for x, hollow, what in ((70, False, "hits that were right"), (250, True, "hits that were wrong")):
        canvas.dot(x, top + height + 49, colours.green if hollow else colours.blue, hollow=hollow)
        canvas.text(x + 12, top + height + 54, what, colours.muted, size=13)


def _windows(canvas: Canvas) -> None:
    """The windows of a long video, as the rule cuts it."""
    colours, rule, duration, left = canvas.palette, WindowRule(64.0), 1024.0, 16
    scale = (WIDTH - 2 * left) / duration
    canvas.text(left, 18, "a video of 17 minutes", colours.muted)
    canvas.box(left, 26, duration * scale, 16, colours.line, 0.7)
    y = 70
    for length, words in (
        (64.0, "windows of 64 seconds"),
        (512.0, "eight times as long"),
        (duration, "the whole video"),
    ):
        canvas.text(left, y, words)
        for number, window in enumerate(w for w in rule.of(duration) if w.length == length):
            row = y + 8 + 15 * (number % 2)
            colour = colours.orange if number % 2 else colours.blue
            canvas.box(left + window.start * scale, row, window.length * scale - 1, 12, colour, 0.75)
        y += 68 if length < duration else 0
    words = "Each window has a map of its own. Neighbours overlap by half."
    canvas.text(left, y + 46, words, colours.muted, size=13)


PICTURES: dict[str, tuple[Callable[[Canvas], None], int, str]] = {
    "map": (_map, 390, "The map of a video: a cell for each start and end"),
    "spaces": (_spaces, 246, "A sentence and moments in the two joint spaces"),
    "certificate": (_certificate, 220, "Why an answer is guaranteed to be exact"),
    "hub": (_hub, 214, "A hub is ranked lower"),
    "confidence": (_confidence, 226, "From evidence to a probability"),
    "windows": (_windows, 262, "A long video is cut into windows"),
}


def draw(folder: Path) -> None:
    """Write every picture, for light and for dark pages."""
    for name, (picture, height, title) in PICTURES.items():
        for scheme, palette in PALETTES.items():
            canvas = Canvas(palette, height)
            picture(canvas)
            (folder / f"concept-{name}-{scheme}.svg").write_text(canvas.svg(title), encoding="utf-8")


if __name__ == "__main__":
    draw(Path(__file__).parent)

"""Frames of a video and their encoding: H.264 in mp4, constant frame rate.

The canvas is painted at a scale at which the camera sees exactly twice as many pixels as a frame has: scaling
down by two is quick and smooths every edge. What remains of the camera's place, less than one pixel of the
canvas, is made up for by mixing neighbours in the frame.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter
from PIL import Image

from ...errors import OutputError
from .body import Figure
from .brush import Brush, PixelBox
from .figure import FigurePainter
from .layout import CANVAS_HEIGHT, CANVAS_WIDTH
from .looks import CameraLook, Look, draw_look
from .motion import Snapshot, Staging
from .plan import SPLITS, Plan
from .room import FRONT_Y, RoomPainter, doorway

FRAME_WIDTH, FRAME_HEIGHT = 224, 168
FPS = 10

_VIEW_WIDTH, _VIEW_HEIGHT = 384, 288  # the part of the canvas that a camera with zoom 1 sees
# No lookahead: x264's look at later frames makes the bytes depend on what the process encoded before.
_ENCODER = {"crf": "30", "preset": "ultrafast", "x264-params": "mbtree=0:bframes=0:rc-lookahead=0"}

_LOOK_STREAM = 104729
_NOISE_FIELDS = 6
_GAIN_BITS = 7

_SEEN_WIDTH, _SEEN_HEIGHT = FRAME_WIDTH + 1, FRAME_HEIGHT + 1  # before neighbours are mixed

_Frame = npt.NDArray[np.uint8]
_Wide = npt.NDArray[np.uint16]


def frame_count(plan: Plan) -> int:
    """Number of frames of a plan's video."""
    return round(plan.duration * FPS)


def frames(plan: Plan) -> Iterator[_Frame]:
    """The frames of a video, (FRAME_HEIGHT, FRAME_WIDTH, 3) RGB."""
    look, rng = drawn_look(plan)
    staging = Staging(plan, [person.height for person in look.people])
    camera = Camera(look.camera, rng)
    room = RoomPainter(plan.layout, look, camera.view.scale)
    painters = [FigurePainter(person, look.objects) for person in look.people]
    canvas = Canvas(room, painters)
    for number in range(frame_count(plan)):
        snapshot = staging.at(number / FPS)
        canvas.paint(snapshot)
        yield camera.record(canvas, number, snapshot.light)


def drawn_look(plan: Plan) -> tuple[Look, np.random.Generator]:
    """How a video looks, and the generator that its camera draws from next."""
    rng = np.random.default_rng([plan.seed, SPLITS.index(plan.split), plan.number, _LOOK_STREAM])
    return draw_look(len(plan.roles), rng), rng


class Canvas:
    """The room with its people; only what has changed since the last frame is painted.

    Attributes:
        stage: the room without people.
        picture: the room with people.
        people: boxes in pixels outside of which the two are the same.
    """

    def __init__(self, room: RoomPainter, painters: list[FigurePainter]) -> None:
        self._room = room
        self._painters = painters
        self.stage = self.picture = Image.new("RGB", (1, 1))
        self.people: list[PixelBox] = []

    def paint(self, snapshot: Snapshot) -> None:
        """Paint the home at a time."""
        room, stage = self._room, self._room.stage(snapshot)
        if stage is self.stage:
            for box in self.people:
                self.picture.paste(stage.crop(box), box)
        else:
            self.stage, self.picture = stage, stage.copy()
        brush = Brush(self.picture, room.scale)
        people = [(f, self._painters[i]) for i, f in enumerate(snapshot.figures) if f is not None]
        people.sort(key=lambda pair: pair[0].y)
        behind = [pair for pair in people if pair[0].y < FRONT_Y]
        self.people = [self._paint_person(brush, *pair) for pair in behind]
        if behind:
            room.paint_front(brush, snapshot, self.people)
        self.people += [self._paint_person(brush, *pair) for pair in people[len(behind) :]]

    def _paint_person(self, brush: Brush, figure: Figure, painter: FigurePainter) -> PixelBox:
        opening = doorway(self._room.layout, self._room.scale) if figure.behind_wall else None
        if opening is not None:
            behind = brush.picture.copy()
            painter.paint(Brush(behind, brush.scale), figure)
            brush.picture.paste(behind.crop(opening), opening)
            return opening
        painter.paint(brush, figure)
        left, top, right, bottom = (edge * brush.scale for edge in painter.bounds(figure))
        width, height = brush.picture.size
        first, end = (min(width, max(0, x)) for x in (int(left), int(right) + 1))  # empty beside the canvas
        return first, max(0, int(top)), end, min(height, int(bottom) + 1)


class View:
    """Where the camera looks.

    `scale` is that of the canvas, in pixels to its unit; a frame has half as many.
    """

    def __init__(self, look: CameraLook, rng: np.random.Generator) -> None:
        self._look = look
        self.scale = 2 * FRAME_WIDTH * look.zoom / _VIEW_WIDTH
        self._phases = rng.uniform(0, 2 * math.pi, 4)

    def corner(self, time: float) -> tuple[float, float]:
        """Left and top of the view, in units of the canvas."""
        look = self._look
        width, height = _VIEW_WIDTH / look.zoom, _VIEW_HEIGHT / look.zoom
        slow, fast = (2 * math.pi * rate * time for rate in look.rates)
        a, b, c, d = self._phases
        x = (
            CANVAS_WIDTH / 2
            + look.offset[0]
            + look.sway[0] * math.sin(slow + a)
            + look.sway[1] * math.sin(fast + b)
        )
        y = 188.0 + look.offset[1] + 0.5 * look.sway[0] * math.sin(0.7 * slow + c)
        y += look.sway[1] * math.sin(1.3 * fast + d)
        left = min(max(0.0, x - width / 2), CANVAS_WIDTH - width)
        top = min(max(0.0, y - height / 2), CANVAS_HEIGHT - height)
        return left, top


class Camera:
    """Records what its view shows of the canvas: shift, brightness, noise."""

    def __init__(self, look: CameraLook, rng: np.random.Generator) -> None:
        self._look = look
        self.view = View(look, rng)
        self._order = rng.integers(_NOISE_FIELDS, size=4096)
        shape = (_NOISE_FIELDS, FRAME_HEIGHT, FRAME_WIDTH, 3)
        grain = rng.standard_normal(shape, dtype=np.float32)
        grain *= look.noise
        # and 1 for what `record` loses on average by rounding down
        grain += 1.0
        fields = np.floor(grain, out=grain).astype(np.int16)
        self._noise = np.zeros((_NOISE_FIELDS, FRAME_HEIGHT, _SEEN_WIDTH, 3), np.int16)
        self._noise[:, :, :FRAME_WIDTH] = fields
        self._mixed, self._part = (np.empty((_SEEN_HEIGHT, _SEEN_WIDTH, 3), np.uint16) for _ in range(2))
        self._stage: Image.Image | None = None
        self._small: dict[tuple[int, int], _Wide] = {}  # of the stage, scaled down

    def record(self, canvas: Canvas, number: int, light: float) -> _Frame:
        """The frame `number`, with the lamp at `light`."""
        left, top = (place * self.view.scale for place in self.view.corner(number / FPS))
        x, y = int(left), int(top)
        # Numbers of 8 bits in 16, so that products with weights of 8 bits fit in; each step rounds down. Rows
        # keep their last column, which is one too many: whole stretches of memory take half the time of rows.
        seen = self._seen(canvas, x, y)
        mixed = self._between(seen, 1, (left - x) / 2)
        recorded = self._between(mixed, _SEEN_WIDTH, (top - y) / 2)[:-1]
        recorded *= self._gains(light)
        recorded >>= _GAIN_BITS
        signed = recorded.view(np.int16)
        signed += self._noise[self._order[number % 4096]]
        return np.clip(signed, 0, 255, out=signed)[:, :FRAME_WIDTH].astype(np.uint8)

    def _between(self, pixels: _Wide, apart: int, place: float) -> _Wide:
        """From each pixel (place 0) to the one so many behind it (place 1); the last ones stay undefined."""
        weight = round(256 * place)
        flat, part = pixels.reshape(-1), self._part.reshape(-1)[3 * apart :]
        mixed = self._mixed.reshape(-1)
        np.multiply(flat[3 * apart :], np.uint16(weight), out=part)
        np.multiply(flat, np.uint16(256 - weight), out=mixed)
        mixed = mixed[: -3 * apart]
        mixed += part
        mixed >>= 8
        return self._mixed

    def _seen(self, canvas: Canvas, x: int, y: int) -> _Wide:
        """The canvas from pixel (x, y) on, scaled down by two, with one row and one column more than a frame.

        A stage that stays is scaled down once in each of the four ways to put pixels in pairs, then only the
        people.
        """
        rows, columns = _SEEN_HEIGHT, _SEEN_WIDTH
        width, height = canvas.stage.size
        if canvas.stage is not self._stage:
            self._stage = canvas.stage
            self._small.clear()
            box = x, y, min(x + 2 * columns, width), min(y + 2 * rows, height)
            return _continued(canvas.picture.reduce(2, box), rows, columns)
        odd = x % 2, y % 2
        if odd not in self._small:
            small = canvas.stage.reduce(2, (*odd, width, height))
            self._small[odd] = _continued(small, small.height + 2, small.width + 2)
        seen = self._small[odd][y // 2 : y // 2 + rows, x // 2 : x // 2 + columns].copy()
        for left, top, right, bottom in canvas.people:
            # in pixels of the frame, outwards to whole ones
            first, last = max(0, (left - x) // 2), min(columns, -((x - right) // 2))
            high, low = max(0, (top - y) // 2), min(rows, -((y - bottom) // 2))
            if first < last and high < low:
                box = x + 2 * first, y + 2 * high, min(x + 2 * last, width), min(y + 2 * low, height)
                seen[high:low, first:last] = np.asarray(canvas.picture.reduce(2, box))
        return seen

    def _gains(self, light: float) -> npt.NDArray[np.uint16]:
        """The channels' gains, below 2, in units of 2 ** -_GAIN_BITS, for a row of pixels."""
        look = self._look
        gains = [g * (d + (1.0 - d) * light) for g, d in zip(look.gain, look.dark_gain, strict=True)]
        fixed = np.array([round(gain * 2**_GAIN_BITS) for gain in gains], np.uint16)
        return np.tile(fixed, (_SEEN_WIDTH, 1))  # numpy is slow on rows of three


def _continued(image: Image.Image, rows: int, columns: int) -> _Wide:
    """An image as numbers, with its last row and column repeated: the view may touch the canvas's edge."""
    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    wide = np.empty((rows, columns, 3), np.uint16)
    wide[:height, :width] = pixels
    wide[:height, width:] = wide[:height, width - 1 : width]
    wide[height:] = wide[height - 1]
    return wide


def write_video(plan: Plan, path: Path) -> None:
    """Render a plan and write it as H.264 mp4; `path` appears only when the video is complete.

    Raises:
        OutputError: the file cannot be written.
    """
    aside = path.with_name(path.name + ".tmp")
    try:
        _encode(plan, aside)
        os.replace(aside, path)
    except (OSError, av.FFmpegError) as error:
        raise OutputError(
            f"{path}: the video cannot be written ({error}). Is the disk full or the folder read-only?"
        ) from error


def _encode(plan: Plan, path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options=_ENCODER)
        stream.width, stream.height, stream.pix_fmt = FRAME_WIDTH, FRAME_HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 1  # more threads could change the bytes
        converter = VideoReformatter()
        frame = av.VideoFrame(FRAME_WIDTH, FRAME_HEIGHT, "rgb24")  # its memory is used again for each picture
        rows = np.frombuffer(memoryview(frame.planes[0]), np.uint8).reshape(FRAME_HEIGHT, -1)
        pixels = rows[:, : 3 * FRAME_WIDTH]  # rows of frames may be longer
        for picture in frames(plan):
            pixels[:] = picture.reshape(FRAME_HEIGHT, -1)
            container.mux(stream.encode(converter.reformat(frame, format="yuv420p", threads=1)))
        container.mux(stream.encode())

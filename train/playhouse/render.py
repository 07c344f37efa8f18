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
from PIL import Image

from ...errors import OutputError
from .body import Figure
from .brush import Brush
from .figure import FigurePainter
from .layout import CANVAS_HEIGHT, CANVAS_WIDTH
from .looks import CameraLook, draw_look
from .motion import Snapshot, Staging
from .plan import SPLITS, Plan
from .room import FRONT_Y, RoomPainter

FRAME_WIDTH, FRAME_HEIGHT = 224, 168
FPS = 10

_VIEW_WIDTH, _VIEW_HEIGHT = 384, 288  # the part of the canvas that a camera with zoom 1 sees
# No lookahead: x264's look at later frames makes the bytes depend on what the process encoded before.
_ENCODER = {"crf": "30", "preset": "ultrafast", "x264-params": "mbtree=0:bframes=0:rc-lookahead=0"}

_LOOK_STREAM = 104729
_NOISE_FIELDS = 6

_Frame = npt.NDArray[np.uint8]


def frame_count(plan: Plan) -> int:
    """Number of frames of a plan's video."""
    return round(plan.duration * FPS)


def frames(plan: Plan) -> Iterator[_Frame]:
    """The frames of a video, (FRAME_HEIGHT, FRAME_WIDTH, 3) RGB."""
    rng = np.random.default_rng([plan.seed, SPLITS.index(plan.split), plan.number, _LOOK_STREAM])
    look = draw_look(len(plan.roles), rng)
    staging = Staging(plan, [person.height for person in look.people])
    camera = _Camera(look.camera, rng)
    room = RoomPainter(plan.layout, look, camera.scale)
    painters = [FigurePainter(person, look.objects) for person in look.people]
    for number in range(frame_count(plan)):
        snapshot = staging.at(number / FPS)
        yield camera.record(_painted(snapshot, room, painters), number, snapshot.light)


def _painted(snapshot: Snapshot, room: RoomPainter, painters: list[FigurePainter]) -> Image.Image:
    """The room with its people."""
    canvas = room.stage(snapshot)
    brush = Brush(canvas, room.scale)
    people = [(figure, painters[i]) for i, figure in enumerate(snapshot.figures) if figure is not None]
    people.sort(key=lambda pair: pair[0].y)
    for figure, painter in people:
        if figure.y < FRONT_Y:
            _paint_person(brush, figure, painter, room)
    if any(figure.y < FRONT_Y for figure, _ in people):
        room.paint_front(brush, snapshot)
    for figure, painter in people:
        if figure.y >= FRONT_Y:
            _paint_person(brush, figure, painter, room)
    return canvas


def _paint_person(brush: Brush, figure: Figure, painter: FigurePainter, room: RoomPainter) -> None:
    box = room.doorway() if figure.behind_wall else None
    if box is None:
        painter.paint(brush, figure)
        return
    behind = brush.picture.copy()
    painter.paint(Brush(behind, brush.scale), figure)
    brush.picture.paste(behind.crop(box), box)


class _Camera:
    """Cuts the view out of the canvas and records it: shift, brightness, noise.

    `scale` is that of the canvas, in pixels to its unit.
    """

    def __init__(self, look: CameraLook, rng: np.random.Generator) -> None:
        self._look = look
        self.scale = 2 * FRAME_WIDTH * look.zoom / _VIEW_WIDTH
        self._phases = rng.uniform(0, 2 * math.pi, 4)
        self._order = rng.integers(_NOISE_FIELDS, size=4096)
        shape = (_NOISE_FIELDS, FRAME_HEIGHT, FRAME_WIDTH, 3)
        grain = rng.standard_normal(shape, dtype=np.float32) * look.noise
        self._noise = np.clip(np.floor(grain), -128, 127).astype(np.int16)

    def record(self, canvas: Image.Image, number: int, light: float) -> _Frame:
        """The frame `number`, with the lamp at `light`."""
        left, top = (place * self.scale for place in self._corner(number / FPS))
        x, y = int(left), int(top)
        small = canvas.reduce(2, (x, y, x + 2 * FRAME_WIDTH + 2, y + 2 * FRAME_HEIGHT + 2))
        # 8 bits and 8 bits of fraction, which no weighted mean of neighbours exceeds
        seen = np.asarray(small).astype(np.uint16)
        seen = _between(seen[:, :-1], seen[:, 1:], (left - x) / 2)
        seen = _between(seen[:-1], seen[1:], (top - y) / 2)
        recorded = _brightened(seen, self._gains(light)).view(np.int16)
        recorded += self._noise[self._order[number % 4096]]
        return np.clip(recorded, 0, 255, out=recorded).astype(np.uint8)

    def _corner(self, time: float) -> tuple[float, float]:
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

    def _gains(self, light: float) -> list[float]:
        look = self._look
        return [g * (d + (1.0 - d) * light) for g, d in zip(look.gain, look.dark_gain, strict=True)]


def _between(
    first: npt.NDArray[np.uint16], second: npt.NDArray[np.uint16], place: float
) -> npt.NDArray[np.uint16]:
    """From `first` (place 0) to `second` (place 1), rounded; both 8 bits wide."""
    weight = round(256 * place)
    mixed = first * np.uint16(256 - weight)
    mixed += second * np.uint16(weight)
    mixed += np.uint16(128)
    mixed >>= np.uint16(8)
    return mixed


def _brightened(seen: npt.NDArray[np.uint16], gains: list[float]) -> npt.NDArray[np.uint16]:
    """Times the gain of each channel, below 2, rounded; `seen` is 8 bits wide."""
    whole = np.array([int(gain) for gain in gains], np.uint16)
    part = np.array([round(256 * (gain % 1.0)) for gain in gains], np.uint16)
    # A whole row of gains: numpy is slow on rows of three.
    bright = seen * np.tile(part, (FRAME_WIDTH, 1))
    bright += np.uint16(128)
    bright >>= np.uint16(8)
    bright += seen * np.tile(whole, (FRAME_WIDTH, 1))
    return bright


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
        for picture in frames(plan):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())

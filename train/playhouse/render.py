"""Frames of a video and their encoding: H.264 in mp4, constant frame rate.

The canvas is nearly twice as fine as the frame: the camera's view is a box of the canvas, scaled down once,
    which also smooths every edge.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageChops

from ...errors import OutputError
from .figure import FigurePainter
from .layout import CANVAS_HEIGHT, CANVAS_WIDTH
from .looks import CameraLook, draw_look
from .motion import Figure, Staging
from .room import FRONT_Y, RoomPainter
from .script import SPLITS, Plan

FRAME_WIDTH, FRAME_HEIGHT = 224, 168
FPS = 10

_VIEW_WIDTH, _VIEW_HEIGHT = 384, 288  # the part of the canvas that a camera with zoom 1 sees
# No lookahead: x264's look at later frames makes the bytes depend on what the process encoded before.
_ENCODER = {"crf": "26", "preset": "veryfast", "x264-params": "mbtree=0:bframes=0:rc-lookahead=0"}

_LOOK_STREAM = 104729
_NOISE_FIELDS = 6


def frame_count(plan: Plan) -> int:
    """Number of frames of a plan's video."""
    return round(plan.duration * FPS)


def frames(plan: Plan) -> Iterator[Image.Image]:
    """The frames of a video, RGB, FRAME_WIDTH x FRAME_HEIGHT."""
    rng = np.random.default_rng([plan.seed, SPLITS.index(plan.split), plan.number, _LOOK_STREAM])
    look = draw_look(len(plan.roles), rng)
    staging = Staging(plan, [person.height for person in look.people])
    room = RoomPainter(plan.layout, look)
    painters = [FigurePainter(person, look.objects) for person in look.people]
    camera = _Camera(look.camera, rng)
    for number in range(frame_count(plan)):
        snapshot = staging.at(number / FPS)
        canvas = room.stage(snapshot)
        people = [(figure, painters[i]) for i, figure in enumerate(snapshot.figures) if figure is not None]
        people.sort(key=lambda pair: pair[0].y)
        for figure, painter in people:
            if figure.y < FRONT_Y:
                _paint_person(canvas, figure, painter, room)
        if any(figure.y < FRONT_Y for figure, _ in people):
            room.paint_front(canvas, snapshot)
        for figure, painter in people:
            if figure.y >= FRONT_Y:
                _paint_person(canvas, figure, painter, room)
        yield camera.record(canvas, number, snapshot.light)


def _paint_person(canvas: Image.Image, figure: Figure, painter: FigurePainter, room: RoomPainter) -> None:
    box = room.doorway() if figure.behind_wall else None
    if box is None:
        painter.paint(canvas, figure)
        return
    behind = canvas.copy()
    painter.paint(behind, figure)
    canvas.paste(behind.crop(box), box)


class _Camera:
    """Cuts the view out of the canvas and records it: shift, brightness, noise."""

    def __init__(self, look: CameraLook, rng: np.random.Generator) -> None:
        self._look = look
        self._phases = rng.uniform(0, 2 * math.pi, 4)
        self._order = rng.integers(_NOISE_FIELDS, size=4096)
        shape = (_NOISE_FIELDS, FRAME_HEIGHT, FRAME_WIDTH, 3)
        grain = rng.standard_normal(shape, dtype=np.float32) * look.noise + 128.0
        self._noise = [Image.fromarray(field) for field in np.clip(grain, 0, 255).astype(np.uint8)]
        self._curves: dict[float, list[int]] = {}

    def record(self, canvas: Image.Image, number: int, light: float) -> Image.Image:
        """The frame `number`, with the lamp at `light`."""
        size = (FRAME_WIDTH, FRAME_HEIGHT)
        picture = canvas.resize(size, Image.Resampling.BILINEAR, box=self._view(number / FPS))
        picture = picture.point(self._curve(light))
        return ImageChops.add(picture, self._noise[self._order[number % 4096]], 1.0, -128)

    def _view(self, time: float) -> tuple[float, float, float, float]:
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
        return left, top, left + width, top + height

    def _curve(self, light: float) -> list[int]:
        curve = self._curves.get(light)
        if curve is None:
            look = self._look
            gains = [g * (d + (1.0 - d) * light) for g, d in zip(look.gain, look.dark_gain, strict=True)]
            curve = self._curves[light] = [min(255, round(v * gain)) for gain in gains for v in range(256)]
        return curve


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
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")))
        container.mux(stream.encode())

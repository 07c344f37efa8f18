"""Decoded frames as images: upright, in the shape that players show, RGB uint8 arrays (H, W, 3).

Frames are stored as the camera was held and with pixels that need not be square. The display matrix of
phones is applied, and the shape of a pixel (DVDs, TV recordings: pixels that are wider than high).
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from ..errors import ConfigError
from .clock import seconds

# Without BITEXACT, the same frame may scale to other bytes on a processor with other instructions.
_INTERPOLATION = Interpolation.BICUBIC | Interpolation.BITEXACT | Interpolation.ACCURATE_RND
Scaler = VideoReformatter  # one a video: it takes longer to set up than to scale a small frame
# Colour spaces that FFmpeg scales from, by their numbers in the files, and the one that says nothing. A file
# that names another one is shown as if it named none.
_SCALED_FROM, _UNSAID = frozenset((0, 1, 2, 4, 5, 6, 7, 9)), 2
_BT709 = 1  # in FFmpeg's lists of colour spaces, primaries and transfer curves


@dataclass(frozen=True)
class FrameSize:
    """The size that frames are scaled to.

    With `short_side` None, frames are squeezed to width x height whatever their shape. Otherwise they keep
    their shape: the short side becomes `short_side`, and the middle width x height is cut out.
    """

    width: int
    height: int
    short_side: int | None = None

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 1:
            raise ConfigError(f"A frame size of {self.width}x{self.height} pixels is empty.")
        if self.short_side is not None and self.short_side < max(self.width, self.height):
            raise ConfigError(
                f"{self.width}x{self.height} pixels cannot be cut out of frames whose short side is "
                f"{self.short_side}."
            )


def orientation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """How a stored frame becomes upright: (transpose, then flip columns, then flip rows)."""
    # frame.side_data would tie each frame into a circle of references, which lives until Python looks for it:
    # hundreds of frames in full size. PyAV's stubs lack the container's arguments.
    container: Any = SideDataContainer
    held = container(frame)
    side_data = next((data for data in held if data.type == SideDataType.DISPLAYMATRIX), None)
    if side_data is None:
        return False, False, False
    # 3 x 3 fixed-point numbers a b u, c d v, x y w: a point goes to x' = a x + c y, y' = b x + d y.
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(side_data), dtype=np.int32, count=5))
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, c < 0, b < 0
    return False, a < 0, d < 0


def shown_size(frame: VideoFrame, aspect: float) -> tuple[float, float]:
    """Width and height in square pixels, upright, of a frame whose stored pixels are `aspect` times as wide
    as high. The longer side of a pixel is stretched, none is shrunk.
    """
    width, height = frame.width * max(aspect, 1.0), frame.height / min(aspect, 1.0)
    return (height, width) if orientation(frame)[0] else (width, height)


def upright(frame: VideoFrame, size: tuple[int, int] | None = None) -> VideoFrame:
    """The frame as it is shown, as yuv420p.

    Args:
        size: even width and height; None keeps the pixels of the file, whatever their shape, but for a last
            odd one.
    """
    width, height = max(2, frame.width // 2 * 2), max(2, frame.height // 2 * 2)
    if size is not None:
        width, height = size[::-1] if orientation(frame)[0] else size
    flat = frame.reformat(width, height, "yuv420p", interpolation=_INTERPOLATION)
    transposed, flip_x, flip_y = orientation(frame)
    if not (transposed or flip_x or flip_y):
        return flat
    stored = flat.to_ndarray().reshape(-1)
    ends = np.cumsum([0, width * height, width * height // 4, width * height // 4])
    planes = []
    for number, (begin, end) in enumerate(pairwise(ends.tolist())):
        side = 2 if number else 1  # colours have half the width and height
        plane = stored[begin:end].reshape(height // side, width // side)
        plane = plane.T if transposed else plane
        planes.append(plane[:: -1 if flip_y else 1, :: -1 if flip_x else 1].reshape(-1))
    shown = (width, height) if transposed else (height, width)
    packed = np.concatenate(planes).reshape(shown[0] * 3 // 2, shown[1]).astype(np.uint8, copy=False)
    turned = VideoFrame.from_ndarray(packed, "yuv420p")
    for name in ("color_range", "colorspace", "color_primaries", "color_trc"):
        setattr(turned, name, getattr(flat, name))
    return turned


def from_rgb(image: np.ndarray) -> VideoFrame:
    """An image with even sides, (H, W, 3) uint8, as yuv420p in the colours of HD video."""
    frame = VideoFrame.from_ndarray(image, "rgb24").reformat(
        format="yuv420p", dst_colorspace=Colorspace.ITU709, interpolation=_INTERPOLATION
    )
    frame.color_range = ColorRange.MPEG
    frame.colorspace = frame.color_primaries = frame.color_trc = _BT709
    return frame


class Picture:
    """A decoded frame on its way to being an image of one size.

    `time` is its raw time in seconds, and `stamp` the same in units of the file, None if it has none.

    Args:
        scaler: that of the video, whose frames may differ in size; None takes one of its own.
    """

    def __init__(
        self, frame: VideoFrame, size: FrameSize, aspect: float, scaler: Scaler | None = None
    ) -> None:
        self.time = frame.time
        self.stamp = frame.pts
        base = frame.time_base
        self.length = seconds(frame.duration or 0, base) if base else 0.0
        self._frame: VideoFrame | None = frame
        self._size = size
        self._aspect = aspect
        self._scaler = scaler or Scaler()
        self._image: np.ndarray | None = None

    def image(self) -> np.ndarray:
        """The upright frame at the size, (H, W, 3) uint8; scaled once, after which the frame is let go."""
        if self._frame is not None:
            self._image = _image(self._frame, self._size, self._aspect, self._scaler)
            self._frame = None
        assert self._image is not None
        return self._image


def _image(frame: VideoFrame, size: FrameSize, aspect: float, scaler: Scaler) -> np.ndarray:
    """The upright frame at a size, (H, W, 3) uint8."""
    transposed, flip_x, flip_y = orientation(frame)
    width, height = _scaled(shown_size(frame, aspect), size)
    across, down = (height, width) if transposed else (width, height)
    if frame.colorspace not in _SCALED_FROM:
        frame.colorspace = _UNSAID
    scaled = scaler.reformat(
        frame, across, down, "rgb24", interpolation=_INTERPOLATION, threads=1
    ).to_ndarray()
    image = scaled.transpose(1, 0, 2) if transposed else scaled
    image = image[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
    top, left = (height - size.height) // 2, (width - size.width) // 2
    return np.ascontiguousarray(image[top : top + size.height, left : left + size.width])


def fitted(image: np.ndarray, size: FrameSize) -> np.ndarray:
    """An upright image, (H, W, 3) uint8, at a size."""
    width, height = _scaled((image.shape[1], image.shape[0]), size)
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
    scaled = frame.reformat(width, height, "rgb24", interpolation=_INTERPOLATION).to_ndarray()
    top, left = (height - size.height) // 2, (width - size.width) // 2
    return np.ascontiguousarray(scaled[top : top + size.height, left : left + size.width])


def _scaled(shown: tuple[float, float], size: FrameSize) -> tuple[int, int]:
    """Width and height to scale to before cutting out the middle."""
    if size.short_side is None:
        return size.width, size.height
    short = min(shown)
    width, height = (max(size.short_side, round(side * size.short_side / short)) for side in shown)
    return width, height

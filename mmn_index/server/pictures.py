"""Small pictures of a video's moments."""

import io
from pathlib import Path

from PIL import Image

from ..video.thumbnails import thumbnails

HEIGHTS = (16, 720)  # pixels, least and most
_QUALITY = 80


def thumbnail(path: Path, time: float, height: int) -> bytes:
    """What is shown at a time, as JPEG; after the end the last picture.

    Raises:
        VideoError: the file cannot be decoded.
    """
    (picture,) = thumbnails(path, [time], height)
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()

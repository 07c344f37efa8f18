"""A file of tubes as what an index is built of: it answers what `FeatureFile` answers of snippets."""

import os
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .config import ModelConfig
from .errors import FeatureError
from .tube_file import Footage, FoundTube, TubeFile
from .windows import WindowOf

_MOST = 1 << 24  # frames of a video, and pixels along a side


class TubeVideos(TubeFile):
    """The videos of a file of tubes.

    Raises:
        FeatureError: as `TubeFile`.
    """

    kinds: tuple[str, ...] = ()  # there are no arrays to choose among
    rate: float | None = None  # frames a second are each video's own
    weights: str | None = None

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self.broken: Mapping[str, str] = {}
        about = self.path.stat()
        self.state = f"{about.st_size} {about.st_mtime_ns} {about.st_ino}"  # changes when the file does

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled, it is opened again, by another process or machine that sees the file."""
        return (TubeVideos, (os.path.abspath(self.path),))

    def __len__(self) -> int:
        return len(self.video_ids)

    def duration(self, video_id: str) -> float:
        """Seconds of a video.

        Raises:
            FeatureError: there is no such video, or it is damaged.
        """
        footage = self.footage(video_id)
        return footage.frames / footage.rate

    def stated(self, video_id: str) -> float | None:
        """Seconds of a video; None where the file does not have it, or does not say it."""
        try:
            return self.duration(video_id)
        except FeatureError:
            return None

    def shape(self, video_id: str) -> tuple[int, int]:
        """Number of frames of a video, and width of its tubes' features.

        Raises:
            FeatureError: there is no such video, it has no tube, or it is damaged.
        """
        self._check_some(video_id)
        return self.footage(video_id).frames, _width(self.tube(video_id, 0))

    def about(self, video_id: str) -> dict[str, object]:
        """What the file says of a video, by attribute."""
        return vars(self.footage(video_id))

    def check(self, video_id: str, dim: int) -> None:
        """Read the tubes of a video.

        Raises:
            FeatureError: it has none, one is damaged, lies outside the video, or has features of another
                width.
        """
        footage = self.footage(video_id)
        self._check_some(video_id)
        if max(footage.frames, footage.width, footage.height) > _MOST:
            raise FeatureError(f"{self._named(video_id)}: says {footage}, more than {_MOST:,} of something.")
        for place, number in enumerate(self.numbers(video_id)):
            self._check(video_id, place, footage, dim, f"{self._named(video_id)}: tube {number}")

    def pre_clips_of(self, where: WindowOf, config: ModelConfig) -> Tensor:
        """The pre-clips of a tube, (M, D) float32.

        Raises:
            FeatureError: it is damaged, or of another width.
        """
        assert where.tube is not None
        return self.pre_clips(where.video_id, self.tube(where.video_id, where.tube), config)

    def _check_some(self, video_id: str) -> None:
        if not self.numbers(video_id):
            raise FeatureError(f"{self._named(video_id)}: has no tube, so nobody can be found in it.")

    def _check(self, video_id: str, place: int, footage: Footage, dim: int, where: str) -> None:
        found = self.tube(video_id, place)
        if found.tube.first < 1:
            raise FeatureError(f"{where} begins with frame {found.tube.first}; the first of a video is 1.")
        if found.tube.last > footage.frames:
            raise FeatureError(
                f"{where} ends with frame {found.tube.last:,}, and the video has {footage.frames:,}."
            )
        if (width := _width(found)) != dim:
            raise FeatureError(
                f"{where} has features of width {width}, expected {dim}. Was the model trained on others?"
            )


def _width(found: FoundTube) -> int:
    return sum(stream.shape[1] for stream in found.streams)

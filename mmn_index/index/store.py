"""An index as a whole: open it for searching, or publish a new one."""

import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import MomentIndexError, OutputError
from .manifest import NAME, Manifest, SegmentEntry, read_manifest
from .segment import IndexedVideo, Segment


@dataclass(frozen=True)
class Rows:
    """What the index says of some moments, by row."""

    videos: np.ndarray  # (n,) int64 positions in MomentIndex.videos
    spans: np.ndarray  # (n, 2) float32 seconds
    contrastive: np.ndarray  # (n, C) float16
    iou: np.ndarray  # (n, C) float16


class MomentIndex:
    """Read access to one version of an index. Row numbers run through the segments in their order.

    Args:
        root: the index directory.

    Raises:
        MomentIndexError: it is missing or damaged.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self.manifest = read_manifest(self.root)
        self._segments = [
            Segment(self.root / "segments" / entry.id, entry, self.manifest.joint_dim) for entry in self.manifest.segments
        ]
        self._first_row = np.cumsum([0] + [segment.entry.moments for segment in self._segments])
        self._first_video = np.cumsum([0] + [segment.entry.videos for segment in self._segments])
        self.videos: list[IndexedVideo] = [video for segment in self._segments for video in segment.videos]

    @property
    def num_moments(self) -> int:
        """All moments of all videos."""
        return int(self._first_row[-1])

    @property
    def model_path(self) -> Path:
        """The checkpoint that made the index, kept inside it."""
        return self.root / self.manifest.model_folder

    def check_model(self, fingerprint: str, where: str) -> None:
        """Compare a model with the one that made the index.

        Raises:
            MomentIndexError: they are not the same; names both.
        """
        if fingerprint != self.manifest.fingerprint:
            raise MomentIndexError(
                f"{self.root}: was built with model {self.manifest.fingerprint[:16]}, but {where} is model {fingerprint[:16]}. "
                "Use the model that built the index, or build the index again."
            )

    def candidates(self, vectors: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows with the largest inner products, (Q, 2 C) -> values and rows, both (Q, min(limit, num_moments)), best first."""
        found = [segment.vectors.best(vectors, limit) for segment in self._segments]
        values = np.concatenate([part for part, _ in found], axis=1)
        rows = np.concatenate([part + first for (_, part), first in zip(found, self._first_row, strict=False)], axis=1)
        order = np.argsort(-values, axis=1, kind="stable")[:, :limit]
        return np.take_along_axis(values, order, axis=1), np.take_along_axis(rows, order, axis=1)

    def rows(self, rows: np.ndarray) -> Rows:
        """Look rows up, (n,) -> their videos, spans and embeddings in the same order."""
        dim = self.manifest.joint_dim
        videos, spans = np.empty(len(rows), np.int64), np.empty((len(rows), 2), np.float32)
        vectors = np.empty((len(rows), 2 * dim), np.float16)
        of = np.searchsorted(self._first_row, rows, side="right") - 1
        for number in np.unique(of):
            segment, here = self._segments[number], of == number
            local = rows[here] - self._first_row[number]
            videos[here] = segment.video_of[local] + self._first_video[number]
            spans[here] = segment.spans[local]
            vectors[here] = segment.embeddings[local]
        return Rows(videos, spans, vectors[:, :dim], vectors[:, dim:])

    def rows_of(self, video: int) -> np.ndarray:
        """All rows of a video, given by its position in `videos`."""
        number = int(np.searchsorted(self._first_video, video, side="right")) - 1
        first = int(self._first_row[number]) + self.videos[video].first_moment
        return np.arange(first, first + self.videos[video].num_moments)


def create(
    root: Path, model: Path, make: Callable[[Path], SegmentEntry], describe: Callable[[SegmentEntry], Manifest], *, overwrite: bool
) -> None:
    """Publish a new index with one segment.

    Args:
        root: the index directory.
        model: the checkpoint directory to keep a copy of.
        make: writes the segment into the folder that it is given.
        describe: the manifest for that segment.
        overwrite: replace an index that is there; its files go after the new manifest is in place.

    Raises:
        OutputError: something else is there, or the place cannot be written. What was there is kept.
    """
    existed = root.exists()
    if existed and not _is_ours(root):
        raise OutputError(f"{root}: exists and is no index; it is left alone. Choose another place with -o.")
    if (root / NAME).exists() and not overwrite:
        raise OutputError(f"{root}: an index stands there already. --overwrite replaces it, or choose another place with -o.")
    folder = root / "segments" / secrets.token_hex(8)
    try:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            manifest = describe(make(folder))
            _copy_model(model, root / manifest.model_folder)
            manifest.write(root)
        except BaseException:
            shutil.rmtree(folder if existed else root, ignore_errors=True)
            raise
        _sweep(root, manifest)
    except OSError as error:
        raise OutputError(f"{root}: the index cannot be written ({error}). What was there before is kept.") from error


def _is_ours(root: Path) -> bool:
    """Whether a folder holds an index, what a killed build left, or nothing."""
    return root.is_dir() and (
        (root / NAME).is_file() or all(x.name in ("segments", f"{NAME}.tmp") or x.name.startswith("model-") for x in root.iterdir())
    )


def _copy_model(model: Path, target: Path) -> None:
    if target.exists():
        return
    aside = target.with_name(f"{target.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(model, aside)
    aside.replace(target)


def _sweep(root: Path, manifest: Manifest) -> None:
    """Remove what no manifest names: segments and models of an index that was replaced, or of a build that was killed."""
    keep = {entry.id for entry in manifest.segments}
    for folder in (root / "segments").iterdir():
        if folder.name not in keep:
            shutil.rmtree(folder, ignore_errors=True)
    for folder in root.glob("model-*"):
        if folder.name != manifest.model_folder:
            shutil.rmtree(folder, ignore_errors=True)

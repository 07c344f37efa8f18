"""An index as a whole: open one version of it and read."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from .. import checkpoint
from ..checkpoint import CheckpointInfo
from ..device import find_device, find_devices
from ..errors import MomentIndexError, QueryError
from ..negatives import Bank
from ..scoring import Embeddings, Score, Tangent
from ..zero_shot import is_zero_shot
from .bank import read_bank
from .candidates import Candidates
from .holding import Holding, Wanted
from .manifest import Manifest, read_manifest
from .rows import Rows
from .sample import joined_samples
from .scan import Deadline
from .segment import Segment
from .segment_files import VIDEO_COLUMNS, shared_columns
from .selection import Part, Restriction, all_live, parse_where, select

# Seconds to open: another process may replace the segments between reading the manifest and opening them.
_PATIENCE = 30.0


@dataclass(frozen=True)
class IndexedVideo:
    """One video of an index.

    Attributes:
        video_id: its id.
        uri: where its file is, if the index knows it.
        duration: seconds.
    """

    video_id: str
    uri: str | None
    duration: float


class MomentIndex:
    """Read access to one version of an index; safe from several threads.

    Row numbers and video numbers run through the segments in their order; those of removed videos stay
    unused.

    Args:
        root: the index directory.
        device: where scans run. On GPUs the embeddings are kept there, and everything is scanned: "cuda" cuts
            each segment over all GPUs that are visible, "cuda:0" is one. Several names in a sequence are as
            many shards. Of a segment that their memory has no room for, the candidate index is kept and
            searched there.

    Attributes:
        columns: those of videos.parquet in all segments, without those that count rows.

    Raises:
        MomentIndexError: it is missing or damaged.
        ConfigError: there is no such device, or the GPUs have no room for a segment.
    """

    def __init__(self, root: str | os.PathLike[str], device: str | Sequence[str] = "cpu") -> None:
        devices = find_devices(device) if isinstance(device, str) else [find_device(name) for name in device]
        manifest, began = read_manifest(Path(root)), time.monotonic()
        while True:
            try:
                self._open(Path(root), manifest, devices)
                return
            except MomentIndexError as error:
                opened, manifest = manifest, read_manifest(Path(root))
                if manifest.version == opened.version:
                    raise
                if time.monotonic() > began + _PATIENCE:
                    told = f"{root}: changed for {_PATIENCE:g} seconds while it was opened. Try again later."
                    raise MomentIndexError(told) from error

    @classmethod
    def of(cls, root: Path, manifest: Manifest) -> "MomentIndex":
        """Segments of a manifest that is not published."""
        index = cls.__new__(cls)
        index._open(root, manifest, [torch.device("cpu")])
        return index

    def _open(self, root: Path, manifest: Manifest, devices: list[torch.device]) -> None:
        self.root, self.manifest = root, manifest
        self.segments = [
            Segment(root / "segments" / entry.id, entry, manifest) for entry in manifest.segments
        ]
        self.holding = Holding(dict(enumerate(self.segments)), manifest, devices)
        self._everything = [all_live(segment) for segment in self.segments]
        self.rows = Rows(self.segments, len(manifest.grid))
        self.columns = shared_columns(root, [segment.table.schema for segment in self.segments])
        if manifest.calibration is not None:
            self.bank  # noqa: B018  # searches need it, and a change by another process may remove it

    @cached_property
    def bank(self) -> Bank | None:
        """The sentences that moments were measured against; None where the index has none.

        Raises:
            MomentIndexError: it is missing or damaged.
        """
        about = self.manifest.bank
        return None if about is None else read_bank(self.root, about, self.manifest.score.tau)

    @property
    def version(self) -> int:
        """Of the manifest that was opened; it rises with every change."""
        return self.manifest.version

    @property
    def has_candidates(self) -> bool:
        """Whether an unrestricted search asks a candidate index: on GPUs only if memory is short."""
        return not all(self.holding.scanned.values())

    @property
    def num_moments(self) -> int:
        """All moments of all videos that were not removed."""
        return sum(part.count for part in self._everything)

    @cached_property
    def live(self) -> np.ndarray:
        """(videos,) bool: which video numbers are in use."""
        return np.concatenate([np.zeros(0, dtype=bool), *(segment.live for segment in self.segments)])

    @cached_property
    def video_ids(self) -> list[str]:
        """Ids of all videos that were not removed."""
        return [name for segment in self.segments for name in segment.ids(segment.live)]

    @cached_property
    def videos(self) -> pa.Table:
        """videos.parquet of all segments, one row a video number, the columns of the user's included."""
        tables = [segment.table for segment in self.segments] or [VIDEO_COLUMNS.empty_table()]
        return pa.concat_tables(tables, promote_options="default")

    @property
    def model_path(self) -> Path:
        """The checkpoint that made the index, kept inside it."""
        return self.root / self.manifest.model_folder

    def video(self, number: int) -> IndexedVideo:
        """A video by its number."""
        segment, place = self.rows.place(number)
        row = segment.table.slice(place, 1).to_pylist()[0]
        return IndexedVideo(row["video_id"], row["uri"], row["duration"])

    def video_id(self, number: int) -> str:
        """The id of a video by its number."""
        segment, place = self.rows.place(number)
        return str(segment.names[place])

    def number_of(self, video_id: str) -> int:
        """The number of a video.

        Raises:
            QueryError: it is not in the index; names a similar one.
        """
        for segment, first in zip(self.segments, self.rows.first_video, strict=False):
            if video_id in segment.places:
                return first + segment.places[video_id]
        select(self.segments, Restriction(videos=(video_id,)))  # says what is there
        raise QueryError(f"the index has no video '{video_id}'.")

    def check_model(self, fingerprint: str, where: str) -> None:
        """Compare a model with the one that made the index.

        Raises:
            MomentIndexError: they are not the same; names both.
        """
        if fingerprint != self.manifest.fingerprint:
            raise MomentIndexError(
                f"{self.root}: was built with model {self.manifest.fingerprint[:16]}, but {where} is model "
                f"{fingerprint[:16]}. Use the model that built the index, or build the index again."
            )

    def check_video_side(self, model: CheckpointInfo) -> None:
        """Whether a model embeds videos as the one that made the index does; its text side may be another.

        Raises:
            MomentIndexError: it does not; names both.
        """
        if is_zero_shot(self.model_path):
            raise MomentIndexError(
                f"{self.root}: was built with a pre-trained dual encoder, and searches with its text side "
                f"alone; {model.path} is a trained model. Leave out --model."
            )
        own = checkpoint.info(self.model_path)
        if model.video_fingerprint != own.video_fingerprint:
            raise MomentIndexError(
                f"{self.root}: its videos were embedded by video side {own.video_fingerprint[:16]}, that of "
                f"{model.path} is {model.video_fingerprint[:16]}. Only the text side may differ "
                "(`tune-text`); or build the index again."
            )

    def check_score(self, score: Score) -> None:
        """Whether this index can rank by a score.

        Raises:
            QueryError: it has a hub correction, and the index no bank; or it needs a space that there is not.
        """
        if self.manifest.spaces == 1 and score.name != "contrastive":
            raise QueryError(
                f"{self.root}: its model has no IoU head, so the only score is 'contrastive', not "
                f"'{score.name}'."
            )
        if score.hub and self.manifest.bank is None:
            raise QueryError(
                f"{self.root}: has no bank of sentences to correct hubs by. Build it with --bank FILE, or "
                "search with --hub 0."
            )

    def where(self, conditions: Sequence[str]) -> Restriction:
        """Conditions on the columns of videos.parquet, such as `camera=porch`, as a restriction.

        Raises:
            QueryError: no such column, or a value of another type.
        """
        return Restriction(where=parse_where(conditions, self.columns))

    def parts(self, restriction: Restriction) -> list[Part]:
        """The rows of each segment that a restriction leaves, removed videos left out.

        Raises:
            QueryError: a video that is not in the index, or a condition that does not fit the columns.
        """
        return select(self.segments, restriction) if restriction else self._everything

    def candidates(
        self,
        queries: Embeddings,
        score: Score,
        planes: Sequence[Tangent],
        limit: int,
        parts: Sequence[Part],
        *,
        scan: bool,
        deadline: Deadline,
    ) -> Candidates:
        """Moments whose scores may be the best.

        Args:
            queries: unit vectors, two of (Q, C).
            planes: a tangent plane of the score for each query; the inner product that a candidate index
                looks for.
            limit: how many candidates a query gets.
            parts: what may be found, from `parts`.
            scan: scan all segments; else only those without a candidate index.
        """
        wanted = self._wanted(parts, self.holding.scanned, scan=scan)
        return self.holding.candidates(queries, score, planes, limit, wanted, deadline)

    def _wanted(self, parts: Sequence[Part], scanned: Mapping[int, bool], *, scan: bool) -> Wanted:
        """Which segments are scanned, and which candidate indexes are asked.

        Args:
            scanned: whether each segment always is.
        """
        scans = {n: part for n, part in enumerate(parts) if scan or scanned[n]}
        return Wanted(scans, {n: part.count for n, part in enumerate(parts) if n not in scans})

    def cosines(
        self,
        rows: np.ndarray,
        queries: Embeddings,
        score: Score,
        precision: torch.dtype,
        deadline: Deadline,
    ) -> tuple[Tensor, Tensor]:
        """Both cosines of each query with its own rows, the first with the score's hub correction, (Q, n) ->
        two of (Q, n). Of a model with one space the second is 0.
        """
        c, i = torch.stack(self.holding.cosines(list(rows), queries, score, precision, deadline), dim=1)
        return c, i

    def pair_bounds(
        self,
        queries: Embeddings,
        score: Score,
        parts: Sequence[Part],
        deadline: Deadline,
        *,
        in_order: bool,
    ) -> tuple[np.ndarray, float]:
        """What no pair of moments of a video is above, -inf for a video that has none; (videos,) float32. And
        the share of the moments that was searched.

        Args:
            queries: unit vectors of the two sentences, two of (2, C).
            in_order: whether the second moment has to begin when the first has ended, or later.
        """
        found = self.holding.pair_bounds(queries, score, dict(enumerate(parts)), deadline, in_order=in_order)
        return np.concatenate([np.zeros(0, dtype=np.float32), *found.values()]), 1.0

    def embeddings(self, rows: np.ndarray) -> Embeddings:
        """The embeddings of rows of any shape, two of (*rows.shape, C) float16; the second is empty for a
        model with one space.
        """
        both, dim = self.vectors(rows), self.manifest.joint_dim
        return Embeddings(both[..., :dim], both[..., dim:])

    def vectors(self, rows: np.ndarray) -> Tensor:
        """Both embeddings of rows of any shape as one, (*rows.shape, spaces * C) float16, contrastive
        first.
        """
        return self.holding.vectors(rows)

    def hubs(self, rows: np.ndarray) -> Tensor:
        """The hub number h of rows of any shape, (*rows.shape,) float32; zeros without a bank."""
        return self.holding.hubs(rows)

    @cached_property
    def background(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A sample of all moments, for what is to be known of them as a whole; see `joined_samples`. The
        weights' sum is `num_moments`.
        """
        counts = [part.count for part in self._everything]
        return joined_samples(self.segments, counts, self.manifest.width)

    def spans(self, rows: np.ndarray) -> np.ndarray:
        """Start and end of rows of any shape, (*rows.shape, 2) float32 seconds."""
        return self.rows.spans(rows)

    def videos_of(self, rows: np.ndarray) -> np.ndarray:
        """Video numbers of rows of any shape."""
        return self.rows.videos_of(rows)

    def rows_in(self, parts: Sequence[Part]) -> np.ndarray:
        """All rows of some parts, from `parts`, in rising order."""
        return self.rows.within(parts)

    def rows_of(self, video: int) -> np.ndarray:
        """All rows of a video, given by its number: those of its windows in turn."""
        return self.rows.of(video)

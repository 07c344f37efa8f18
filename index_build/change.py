"""Change an index without embedding anything: remove videos, compact what has gathered, set how it is
searched.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from mmn_index.confidence import Calibration
from mmn_index.errors import MomentIndexError
from mmn_index.index import (
    CandidateAbout,
    IndexWriter,
    Manifest,
    MomentIndex,
    PlannedVideo,
    Restriction,
    SegmentEntry,
)
from mmn_index.index.codes import Codebook, Joined
from mmn_index.index.segment_files import (
    BOXES,
    EMBEDDINGS,
    HUBS,
    TUBES,
    VECTORS,
    VIDEO_COLUMNS,
    VIDEOS,
    WINDOWS,
)
from mmn_index.index.selection import select
from mmn_index.scoring import Score

from .build import BuildResult, opened, tombstones
from .candidates import Wish, choose, tune
from .verify import changed


@dataclass(frozen=True)
class RemoveResult:
    """What was removed and what is left."""

    removed: int
    videos: int
    moments: int


def remove(root: Path, video_ids: Sequence[str]) -> RemoveResult:
    """Take videos out of an index, all of them in one change. Their rows stay on disk until the index is
    compacted.

    Raises:
        MomentIndexError: there is no index.
        QueryError: a video is not in it; nothing is removed.
        OutputError: it cannot be written.
    """
    with IndexWriter(root) as writer:
        manifest = opened(writer)
        index = MomentIndex.of(root, manifest)
        select(index.segments, Restriction(videos=tuple(video_ids)))  # names what is not there
        manifest = writer.publish(replace(manifest, segments=tuple(tombstones(index, set(video_ids)))))
        left = MomentIndex.of(root, manifest)
        return RemoveResult(len(set(video_ids)), int(left.live.sum()), left.num_moments)


def set_ranking(root: Path, score: Score, calibration: Calibration, seen: int) -> None:
    """Make a score an index's default, and give its hits confidences.

    Args:
        seen: version of the index that both were fitted for.

    Raises:
        MomentIndexError: there is no index, or it was changed meanwhile.
        OutputError: it cannot be written.
    """
    with IndexWriter(root) as writer:
        manifest = opened(writer)
        if manifest.version != seen:
            raise MomentIndexError(
                f"{root}: was changed while its score was fitted. Run the same command again."
            )
        writer.publish(replace(manifest, score=score, calibration=calibration))


def compact(
    root: Path, wish: Wish, report: Callable[[int, int], None] = lambda done, total: None
) -> BuildResult:
    """Merge all segments into one without the removed videos, and choose and train its candidate index anew.

    Embeddings are copied; nothing is embedded again. A killed run is taken up where it stopped.

    Raises:
        MomentIndexError: there is no index, it has no videos left, or what would be copied is damaged.
        ConfigError: no such candidate index.
        OutputError: it cannot be written.
    """
    with IndexWriter(root) as writer:
        manifest = opened(writer)
        index = MomentIndex.of(root, manifest)
        numbers = np.flatnonzero(index.live)
        if not len(numbers):
            raise MomentIndexError(f"{root}: has no videos, there is nothing to compact.")
        table = index.videos.take(pa.array(numbers))
        known = table.select(["video_id", "uri", "duration"]).to_pylist()
        videos = [
            PlannedVideo(
                row["video_id"],
                row["uri"],
                row["duration"],
                tuple(index.rows.windows_of(number)),
                index.rows.planned_tubes(number),
            )
            for number, row in zip(numbers.tolist(), known, strict=True)
        ]
        own = table.drop_columns(VIDEO_COLUMNS.names)
        entry = copy_videos(
            writer, manifest, index, numbers, videos, own if own.num_columns else None, wish, report
        )
        manifest = writer.publish(replace(manifest, segments=(entry,)))
        return BuildResult(root, len(videos), MomentIndex.of(root, manifest).num_moments, entry)


def copy_videos(
    writer: IndexWriter,
    manifest: Manifest,
    index: MomentIndex,
    numbers: np.ndarray,
    videos: Sequence[PlannedVideo],
    own: pa.Table | None,
    wish: Wish,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> SegmentEntry:
    """Write the moments of videos of an index into a new segment, under the names and columns that they shall
    have.

    Args:
        numbers: their numbers in the index.
        videos: what each is in the new segment.
        own: columns, a row a video.

    Raises:
        MomentIndexError: what would be copied is damaged.
    """
    behind = np.cumsum([part.entry.videos for part in index.segments])
    for place in np.unique(np.searchsorted(behind, numbers, side="right")).tolist():
        part = index.segments[place]  # copied, a damaged embedding would get a checksum that fits
        names = (EMBEDDINGS, HUBS, VIDEOS, WINDOWS, TUBES, BOXES)
        files = {name: about for name, about in part.entry.files.items() if name in names}
        if wrong := list(changed(part.folder, files)):
            raise MomentIndexError(" ".join(wrong))
    rows = np.concatenate([index.rows_of(number) for number in numbers.tolist()])
    factory, reason = choose(len(rows), manifest.width, wish, hubs=manifest.bank is not None)
    origin = f"copy {wish} {numbers.tolist()}"
    segment = writer.segment(manifest.grid, manifest.joint_dim, videos, origin, own, spaces=manifest.spaces)
    count = len(manifest.grid)
    for done in range(segment.done, segment.windows):
        segment.add(index.vectors(rows[done * count : (done + 1) * count]).numpy())
        if (done + 1) % 256 == 0:
            segment.keep()
            report(done + 1, segment.windows)
    segment.keep()
    report(segment.windows, segment.windows)
    hubs = index.hubs(rows).numpy() if manifest.bank else None
    boxes = (boxes for number in numbers.tolist() for _, boxes in index.rows.tubes_of(number))
    about = CandidateAbout(factory) if factory else None
    shared = None if factory is None else _codebook(index, factory, rows)
    entry = segment.finish(about, hubs, boxes if manifest.tubes else None, shared)
    return tune(writer.root, manifest, replace(entry, reason=reason))


def _codebook(index: MomentIndex, factory: str, rows: np.ndarray) -> Codebook | None:
    """What all segments of an index share, where that is a candidate index of this kind.

    Args:
        rows: that will be in the new segment.
    """
    abouts = {segment.entry.candidates for segment in index.segments}
    first = next(iter(abouts))
    if len({(about.factory, about.trained) if about else None for about in abouts}) > 1:
        return None
    if first is None or first.trained is None or first.factory != factory:
        return None
    paths = [segment.folder / VECTORS for segment in index.segments]
    whole = np.array_equal(rows, np.arange(index.rows.first[-1]))
    return Joined(paths) if whole else Codebook.of(paths[0])

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
from mmn_index.index import CandidateAbout, IndexWriter, MomentIndex, PlannedVideo, Restriction
from mmn_index.index.segment_files import EMBEDDINGS, HUBS, VIDEO_COLUMNS, VIDEOS, WINDOWS
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
        for part in index.segments:  # copied, a damaged embedding would get a checksum that fits
            files = part.entry.files
            if wrong := list(
                changed(
                    part.folder,
                    {name: files[name] for name in (EMBEDDINGS, HUBS, VIDEOS, WINDOWS) if name in files},
                )
            ):
                raise MomentIndexError(" ".join(wrong))
        table = index.videos.take(pa.array(numbers))
        known = table.select(["video_id", "uri", "duration"]).to_pylist()
        videos = [
            PlannedVideo(row["video_id"], row["uri"], row["duration"], tuple(index.rows.windows_of(number)))
            for number, row in zip(numbers.tolist(), known, strict=True)
        ]
        own = table.drop_columns(VIDEO_COLUMNS.names)
        factory, reason = choose(index.num_moments, manifest.width, wish, hubs=manifest.bank is not None)
        segment = writer.segment(
            manifest.grid,
            manifest.joint_dim,
            videos,
            f"compact {wish}",
            own if own.num_columns else None,
            spaces=manifest.spaces,
        )
        rows = index.rows_in(index.parts(Restriction()))
        for done in range(segment.done, segment.windows):
            count = len(manifest.grid)
            segment.add(index.vectors(rows[done * count : (done + 1) * count]).numpy())
            if (done + 1) % 256 == 0:
                segment.keep()
                report(done + 1, segment.windows)
        segment.keep()
        report(segment.windows, segment.windows)
        hubs = index.hubs(rows).numpy() if manifest.bank else None
        entry = segment.finish(CandidateAbout(factory) if factory else None, hubs)
        entry = tune(root, manifest, replace(entry, reason=reason))
        writer.publish(replace(manifest, segments=(entry,)))
        return BuildResult(root, len(videos), entry.moments, entry)

"""A segment out of a model and the snippets of some videos."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pyarrow as pa

from mmn_index.device import find_devices
from mmn_index.embedding import batch_size, embed_in_batches
from mmn_index.features import FeatureFile
from mmn_index.index import (
    CandidateAbout,
    IndexWriter,
    Manifest,
    PlannedVideo,
    SegmentEntry,
    SegmentWriter,
)
from mmn_index.moment_model import MomentModel
from mmn_index.negatives import Bank
from mmn_index.tube_videos import TubeVideos
from mmn_index.windows import WindowOf

from .candidates import choose, tune
from .source import Report, Source, boxes_of

_KEPT = 8  # batches after which finished windows are brought to the disk


def encode(
    model: MomentModel, features: FeatureFile | TubeVideos, windows: Sequence[WindowOf]
) -> Iterator[list[np.ndarray]]:
    """Embed windows of the videos of a feature file in batches; see embedding.embed_in_batches."""
    return embed_in_batches(
        model, lambda where: model.prepare(features, where), windows, lambda where: where.video_id
    )


def windows_in(videos: Sequence[PlannedVideo]) -> list[WindowOf]:
    """The windows of some videos, or their tubes, in the order of a segment's rows."""
    return [
        WindowOf(video.video_id, video.duration, window, place if video.tubes else None)
        for video in videos
        for place, window in enumerate(video.windows)
    ]


def write_segment(
    writer: IndexWriter,
    manifest: Manifest,
    model: MomentModel,
    videos: list[PlannedVideo],
    source: Source,
    bank: Bank | None,
    report: Report,
    metadata: pa.Table | None = None,
    device: str = "cpu",
    part: slice | None = None,
) -> SegmentEntry:
    """Write the segment of some videos; one that a killed process left is taken up.

    Args:
        report: called with (windows done, windows in all).
        metadata: columns of the user's, a row a video of the segment.
        part: of the videos: the segment holds these alone, and what it holds is the same to the bit as in a
            segment of all of them.
    """
    devices, own = find_devices(device), videos if part is None else videos[part]
    before = 0 if part is None else sum(len(video.windows) for video in videos[: part.start])
    moments = sum(len(video.windows) for video in own) * len(model.grid)
    factory, reason = choose(moments, manifest.width, source.wish, hubs=bank is not None, devices=devices)
    # Of a file that has changed since, nothing is taken up.
    origin = f"{manifest.fingerprint} {os.path.abspath(source.features.path)} {source.features.state}"
    segment = writer.segment(
        model.grid,
        manifest.joint_dim,
        own,
        origin,
        metadata,
        spaces=manifest.spaces,
    )
    _fill(segment, model, source.features, windows_in(videos), before, report)
    hubs = None if bank is None else bank.hubs(segment.embeddings)
    entry = segment.finish(CandidateAbout(factory) if factory else None, hubs, boxes_of(source.features, own))
    return tune(writer.root, manifest, replace(entry, reason=reason))


def _fill(
    segment: SegmentWriter,
    model: MomentModel,
    features: FeatureFile | TubeVideos,
    windows: Sequence[WindowOf],
    before: int,
    report: Report,
) -> None:
    """Embed what a segment lacks of its windows: those behind the first `before`.

    Batches are those of a walk over all windows from the first one, because the last bits of an embedding
    depend on how many are embedded together: of a batch that a border runs through, the rest is dropped.
    """
    size, begin, end = batch_size(model.grid), before + segment.done, before + segment.windows
    first = begin - begin % size
    last = min(len(windows), -(-end // size) * size) if begin < end else first
    report(segment.done, segment.windows)
    with ThreadPoolExecutor(1) as disk:
        kept: Future[None] | None = None
        for number, batch in enumerate(encode(model, features, windows[first:last]), 1):
            place = first + (number - 1) * size
            for embeddings in batch[max(0, begin - place) : end - place]:
                segment.add(embeddings)
            report(segment.done, segment.windows)
            if number % _KEPT == 0:
                if kept is not None:
                    kept.result()
                kept = disk.submit(segment.keep, segment.done)
        if kept is not None:
            kept.result()
    segment.keep()

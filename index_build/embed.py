"""A segment out of a model and the snippets of some videos."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pyarrow as pa

from mmn_index.device import find_devices
from mmn_index.embedding import embed_in_batches
from mmn_index.features import FeatureFile
from mmn_index.index import CandidateAbout, IndexWriter, Manifest, PlannedVideo, SegmentEntry
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
) -> SegmentEntry:
    """Write the segment of some videos; one that a killed process left is taken up.

    Args:
        report: called with (windows done, windows in all).
    """
    windows, devices = windows_in(videos), find_devices(device)
    moments = len(windows) * len(model.grid)
    factory, reason = choose(moments, manifest.width, source.wish, hubs=bank is not None, devices=devices)
    # Of a file that has changed since, nothing is taken up.
    origin = f"{manifest.fingerprint} {os.path.abspath(source.features.path)} {source.features.state}"
    segment = writer.segment(
        model.grid,
        manifest.joint_dim,
        videos,
        origin,
        metadata,
        spaces=manifest.spaces,
    )
    report(segment.done, len(windows))
    left = windows[segment.done :]
    with ThreadPoolExecutor(1) as disk:
        kept: Future[None] | None = None
        for number, batch in enumerate(encode(model, source.features, left), 1):
            for embeddings in batch:
                segment.add(embeddings)
            report(segment.done, len(windows))
            if number % _KEPT == 0:
                if kept is not None:
                    kept.result()
                kept = disk.submit(segment.keep, segment.done)
        if kept is not None:
            kept.result()
    segment.keep()
    hubs = None if bank is None else bank.hubs(segment.embeddings)
    entry = segment.finish(
        CandidateAbout(factory) if factory else None, hubs, boxes_of(source.features, videos)
    )
    return tune(writer.root, manifest, replace(entry, reason=reason))

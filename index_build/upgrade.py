"""An index of an earlier format becomes one of today's.

Embeddings, candidate indexes, h of every moment and the model stay as they are; the large ones get a second
name where the file system allows it. What is new is written beside them: tables, and a sample of the moments.

    1  one flat vector index a segment; the manifest names no model files, no grid and no removed videos
    2  candidate indexes, removed videos; no bank of sentences
    3  a bank; no windows: each video is one
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from numpy import load

from mmn_index.checkpoint import share
from mmn_index.confidence import Calibration
from mmn_index.errors import MomentIndexError
from mmn_index.index import IndexWriter, Manifest, MomentIndex, PlannedVideo, SegmentEntry
from mmn_index.index.manifest import DAMAGE, FORMAT, manifest_damaged, parse, read_content, sync_folder
from mmn_index.index.segment_files import EMBEDDINGS, HUBS, PROGRESS, VECTORS, VIDEO_COLUMNS, VIDEOS, on_disk
from mmn_index.index.segment_writer import SegmentWriter
from mmn_index.models import model_info

from .verify import changed_files

Content = dict[str, Any]  # of a manifest, as JSON


@dataclass(frozen=True)
class UpgradeResult:
    """What was done.

    Attributes:
        found: format that the index had; that of today if nothing was done.
        videos, moments: that are in it.
        remarks: what could not be kept, and what to do about it, a sentence each.
    """

    found: int
    videos: int
    moments: int
    remarks: tuple[str, ...] = ()


def upgrade(root: Path, report: Callable[[int, int], None] = lambda done, total: None) -> UpgradeResult:
    """Bring an index to today's format in one change: readers see the old one or the new one.

    Killed, it leaves the old one, or the new one with files of the old one, which go with the next change.

    Args:
        report: called with (segments done, segments in all).

    Raises:
        MomentIndexError: there is no index, it is damaged, or of a later format.
        CheckpointError: its model is damaged.
        OutputError: it cannot be written.
    """
    if read_content(root)["format"] == FORMAT:
        return _result(root, FORMAT, [])
    with IndexWriter(root, anew=True) as writer:
        content = read_content(root)  # another process may have changed it before this one had the lock
        if (found := content["format"]) == FORMAT:
            return _result(root, FORMAT, [])
        remarks = list[str]()
        writer.manifest = manifest = _described(root, content, remarks)
        if wrong := list(changed_files(root, manifest)):
            raise MomentIndexError(" ".join(wrong))  # what is written anew would get checksums that fit
        entries = []
        for entry in manifest.segments:
            entries.append(_segment(writer, manifest, entry))
            report(len(entries), len(manifest.segments))
        manifest = replace(manifest, segments=tuple(entries))
        MomentIndex.of(root, manifest)  # before anything of the old one goes
        writer.publish(manifest)
    return _result(root, found, remarks)


def _result(root: Path, found: int, remarks: list[str]) -> UpgradeResult:
    index = MomentIndex(root)
    return UpgradeResult(found, len(index.video_ids), index.num_moments, tuple(remarks))


def _described(root: Path, content: Content, remarks: list[str]) -> Manifest:
    """What an earlier manifest says, in today's terms; its segments still lack files."""
    try:
        if content["format"] < 2:
            content = _from_1(root, content, remarks)
        if content["format"] < 3:
            content = {**content, "format": 3, "bank": None}
        return parse(root, _from_3(content, remarks))
    except DAMAGE as error:
        raise manifest_damaged(root, error) from error


def _from_1(root: Path, content: Content, remarks: list[str]) -> Content:
    """Format 2: the manifest names the model's files and the grid. The flat index goes."""
    folder = root / f"model-{content['fingerprint'][:16]}"
    grid = model_info(folder).grid
    remarks.append(
        "The flat vector index of format 1 is left out: its moments are scanned now, with the same answers. "
        "`mmn-index compact` makes a candidate index where there are many."
    )
    return {
        **content,
        "format": 2,
        "version": 0,
        "grid": {"num_clips": grid.num_clips, "pooling_counts": grid.pooling_counts},
        "model_files": {path.name: on_disk(path) for path in sorted(folder.iterdir()) if path.is_file()},
        "segments": [
            {
                **entry,
                "files": {name: about for name, about in entry["files"].items() if name != VECTORS},
                "candidates": None,
                "removed": (),
            }
            for entry in content["segments"]
        ],
    }


def _from_3(content: Content, remarks: list[str]) -> Content:
    """Format 4: two spaces of unit vectors, as all models had; confidences where they can be read."""
    calibration = content.get("calibration")
    try:
        if calibration is not None:
            Calibration(**calibration)
    except (TypeError, ValueError):
        calibration = None
        remarks.append(
            "Its confidences were fitted on other quantities than today's and are left out. `mmn-index "
            "calibrate` fits them again."
        )
    return {**content, "format": 4, "calibration": calibration, "spaces": 2, "longest": 1.0}


def _segment(writer: IndexWriter, manifest: Manifest, entry: SegmentEntry) -> SegmentEntry:
    """A segment of today's format beside an earlier one, with the same rows; large files are shared."""
    old = writer.root / "segments" / entry.id
    table = pq.read_table(old / VIDEOS)
    known = table.select(["video_id", "uri", "duration"]).to_pylist()
    videos = [PlannedVideo(row["video_id"], row["uri"], row["duration"]) for row in known]
    own = table.drop_columns(VIDEO_COLUMNS.names)
    begun = writer.adopt(old, replace(entry, files={EMBEDDINGS: entry.files[EMBEDDINGS]}))
    folder = writer.root / "segments" / begun.id
    # The writer finds all embeddings there, as after a killed build, and writes only what belongs to them.
    (folder / PROGRESS).write_text(str(len(videos)), encoding="utf-8")
    segment = SegmentWriter(
        folder, manifest.grid, manifest.joint_dim, videos, own if own.num_columns else None
    )
    found, expected = tuple(segment.embeddings.shape), (len(videos) * len(manifest.grid), manifest.width)
    if found != expected:
        raise MomentIndexError(
            f"{old / EMBEDDINGS}: is {found}, expected {expected}. The index is damaged; build it again."
        )
    made = segment.finish(hubs=load(old / HUBS) if HUBS in entry.files else None)
    files = dict(made.files)
    if entry.candidates is not None:
        share(old / VECTORS, folder / VECTORS)
        files[VECTORS] = on_disk(folder / VECTORS)
        sync_folder(folder)
    return replace(entry, id=made.id, files=files)

"""From a trained model and snippet features to a moment index: build a new one, add videos to one, replace
videos of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from mmn_index import checkpoint
from mmn_index.errors import BusyError, MomentIndexError, OutputError, QueryError
from mmn_index.index import (
    IndexWriter,
    Manifest,
    MomentIndex,
    SegmentEntry,
    ShardAbout,
)
from mmn_index.index.bank import read_bank, write_bank
from mmn_index.index.manifest import NAME, read_manifest
from mmn_index.index.segment_files import VIDEO_COLUMNS
from mmn_index.index.writer import check_ours, is_held
from mmn_index.left_out import LeftOut
from mmn_index.model import MMN
from mmn_index.models import load_model, model_info
from mmn_index.moment_model import ModelInfo, MomentModel
from mmn_index.negatives import Bank, make_bank
from mmn_index.places import check_folder
from mmn_index.scoring import Score

from .build_plan import OWN_SENTENCES, Hubs, Plan, plan_build
from .columns import columns_of
from .embed import write_segment
from .source import Report, Source, check_backbone, usable_of


@dataclass(frozen=True)
class BuildResult:
    """What was written."""

    root: Path
    videos: int
    moments: int
    entry: SegmentEntry
    bank: int | None = None  # sentences that moments were measured against
    hub: float = 0.0  # the index's default correction
    left_out: tuple[LeftOut, ...] = ()  # videos that could not be used
    remarks: tuple[str, ...] = ()  # on the metadata


def build(
    checkpoint_path: Path,
    source: Source,
    root: Path,
    *,
    score: str | None = None,
    hubs: Hubs | None = OWN_SENTENCES,
    overwrite: bool = False,
    self_contained: bool = False,
    device: str = "cpu",
    report: Report = lambda done, total: None,
) -> BuildResult:
    """Embed every valid proposal of every video and publish them as a new index.

    Args:
        score: the default ranking, one of scoring.SCORES; None as it suits the model.
        hubs: the bank of sentences, by which searches can correct hubs; None makes none.
        overwrite: replace an index at `root`, once the new one is complete.
        self_contained: keep a copy of a frozen text encoder in the index, which else refers to it.
        report: called with (videos done, videos in all).

    Raises:
        CheckpointError, FeatureError, AnnotationError, ConfigError, QueryError: input that does not fit;
            nothing is published.
        OutputError: `root` exists or cannot be written.
    """
    plan = plan_build(checkpoint_path, source, score, hubs, self_contained=self_contained)
    check_free(root, overwrite=overwrite)
    with IndexWriter(root, anew=overwrite) as writer:
        if writer.manifest is not None and not overwrite:
            raise there_already(root)
        model = load_model(checkpoint_path, device)
        manifest, known, remarks = write_plan(writer, plan, model, report, device)
    (entry,) = manifest.segments
    more = (tuple(plan.left_out), (*plan.remarks, *remarks))
    return BuildResult(
        root, len(plan.videos), _moments(root, manifest, entry), entry, known, plan.score.hub, *more
    )


def write_plan(
    writer: IndexWriter,
    plan: Plan,
    model: MomentModel,
    report: Report,
    device: str,
    part: slice | None = None,
    shard: ShardAbout | None = None,
) -> tuple[Manifest, int | None, list[str]]:
    """Embed the videos of a plan and publish them as a new index.

    Args:
        part: of the videos, which the index will be a shard of.

    Returns:
        What was published, the number of sentences of its bank, and what is to be said of these.
    """
    about, source, remarks = plan.about, plan.source, list[str]()
    bank = _bank(model, about, plan.sentences, plan.hubs, remarks)
    manifest = replace(
        _manifest(about, source, plan.score),
        bank=None if bank is None else write_bank(bank, writer.root),
        shard=shard,
    )
    metadata = plan.metadata
    if part is not None and metadata is not None:
        metadata = metadata.slice(part.start, part.stop - part.start)
    more = bank, report, metadata, device, part
    entry = write_segment(writer, manifest, model, plan.videos, source, *more)
    encoder = None
    if plan.self_contained and about.encoder and isinstance(model, MMN):
        encoder = partial(checkpoint.write_encoder, model)
    published = writer.publish(replace(manifest, segments=(entry,)), plan.checkpoint, encoder)
    return published, len(bank.sentences) if bank else None, remarks


def _moments(root: Path, manifest: Manifest, entry: SegmentEntry) -> int:
    """How many moments of a new segment can be found: of a short tube some rows are none."""
    return (
        MomentIndex.of(root, replace(manifest, segments=(entry,))).num_moments
        if manifest.tubes
        else entry.moments
    )


def _manifest(about: ModelInfo, source: Source, score: Score) -> Manifest:
    """Of an index that has nothing yet."""
    return Manifest(
        about.fingerprint,
        source.features.backbone or about.features,
        about.joint_dim,
        about.grid,
        score,
        (),
        spaces=about.spaces,
        longest=about.longest,
        windows=source.windows or about.windows,
        rate=source.features.rate,
        tubes=about.tubes,
    )


def add(
    root: Path,
    source: Source,
    *,
    update: bool = False,
    device: str = "cpu",
    report: Report = lambda done, total: None,
) -> BuildResult:
    """Embed videos with the index's own model and add them as a new segment.

    Args:
        update: videos that the index has already are replaced, in the same change; else they are an error.

    Raises:
        MomentIndexError: there is no index, or it has a video already.
        FeatureError, AnnotationError, ConfigError: input that does not fit; the index stays as it was.
        OutputError: it cannot be written.
    """
    known = read_manifest(root)
    path = root / known.model_folder
    about, source = model_info(path), replace(source, windows=source.windows or known.windows)
    check_backbone(about, source.features, path)
    videos, left_out = usable_of(source, about)
    model = load_model(path, device)
    with IndexWriter(root) as writer:
        manifest = opened(writer)
        current = MomentIndex.of(root, manifest)
        current.check_model(
            about.fingerprint, "the one that it had a moment ago"
        )  # another process may have built it anew
        named = {video.video_id for video in videos}
        here = [video_id for video_id in current.video_ids if video_id in named]
        if here and not update:
            raise MomentIndexError(
                f"{root}: has {len(here):,} of these {len(videos):,} videos already, e.g. '{here[0]}'. "
                "`update` replaces videos, `remove` removes them."
            )
        old = tombstones(current, set(here))
        left = {entry.id for entry in old}
        tables = [segment.table.schema for segment in current.segments if segment.entry.id in left]
        columns = pa.unify_schemas([VIDEO_COLUMNS, *tables])
        ids = [video.video_id for video in videos]
        metadata, remarks = columns_of(source.features, ids, source.metadata, columns)
        bank = None if manifest.bank is None else read_bank(root, manifest.bank, manifest.score.tau, device)
        entry = write_segment(writer, manifest, model, videos, source, bank, report, metadata, device)
        writer.publish(replace(manifest, segments=(*old, entry)))
    moments = _moments(root, manifest, entry)
    return BuildResult(root, len(videos), moments, entry, left_out=tuple(left_out), remarks=tuple(remarks))


def tombstones(index: MomentIndex, video_ids: set[str]) -> list[SegmentEntry]:
    """The segments of an index without some videos; one that has no other left is dropped."""
    found = []
    for segment in index.segments:
        gone = np.flatnonzero(np.isin(segment.names, list(video_ids)) | ~segment.live)
        if len(gone) < segment.entry.videos:
            found.append(replace(segment.entry, removed=tuple(gone.tolist())))
    return found


def check_free(root: Path, *, overwrite: bool) -> None:
    """Refuse to build where there is an index already, or where none can be, before any work.

    Raises:
        OutputError: there is one, and it is not to be overwritten; or something else is there; or nothing can
            be written there.
        BusyError: another process makes one there.
    """
    there = (root / NAME).is_file()
    if there and not overwrite:
        raise there_already(root)
    check_ours(root)
    check_folder(root)
    if not there and is_held(root):
        raise BusyError(
            f"{root}: another process makes this index. Wait until it has finished, or choose another place "
            "with -o."
        )


def there_already(root: Path) -> OutputError:
    """What to say where a new index would take an older one's place."""
    return OutputError(
        f"{root}: there is an index already. `sync` brings it up to date with folders, `add` adds videos to "
        "it, --overwrite replaces it, or choose another place with -o."
    )


def _bank(
    model: MomentModel,
    about: ModelInfo,
    sentences: Sequence[str] | None,
    hubs: Hubs | None,
    remarks: list[str],
) -> Bank | None:
    """The bank of some sentences; what is to be said of it is added to the remarks."""
    if hubs is None or sentences is None:
        return None
    shorter = model.shortened(sentences)
    if cut := sum(a != b for a, b in zip(sentences, shorter, strict=True)):
        remarks.append(f"{cut:,} sentences of the bank are longer than the text encoder reads, and are cut.")
    where = "the bank" if hubs.sentences is not None else str(about.sentences_file)
    try:
        return make_bank(model, shorter, hubs.kind, about.tau)
    except QueryError as error:
        raise QueryError(f"{where}: {error}") from error


def opened(writer: IndexWriter) -> Manifest:
    """The manifest of an index that has to be there."""
    if writer.manifest is None:
        raise MomentIndexError(f"{writer.root}: is no moment index. `mmn-index build` makes one.")
    return writer.manifest

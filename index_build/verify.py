"""Whether an index is what it says: every byte, every row, and what its candidate index finds."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from mmn_index import checkpoint
from mmn_index.encoder_lookup import find_encoder
from mmn_index.errors import CheckpointError
from mmn_index.features import FeatureFile
from mmn_index.index import Manifest, MomentIndex
from mmn_index.index.manifest import read_manifest
from mmn_index.index.segment import Segment
from mmn_index.index.segment_files import (
    BACKGROUND,
    BOXES,
    EMBEDDINGS,
    HUBS,
    MOMENTS,
    TUBES,
    WINDOWS,
    digest,
)
from mmn_index.models import load_model, model_info
from mmn_index.negatives import Bank
from mmn_index.tube_videos import TubeVideos
from mmn_index.windows import WindowOf
from mmn_index.zero_shot import is_zero_shot

from .candidates import measured_recall
from .embed import encode
from .source import check_backbone

_SAMPLE = 16  # videos that are embedded again
_WINDOWS = 4  # of each of them
_HUBS = 1 << 12  # rows of a segment whose h is computed again
_SAME = 1e-5  # of float32, summed in another order
_LONGER = 1.001  # times: float16 makes some vectors a little longer
_CLOSE = 2e-3  # float16 keeps 11 bits of numbers below 1; batches of another size differ by less


def verify(
    root: Path,
    features: FeatureFile | TubeVideos | None = None,
    report: Callable[[str], None] = lambda text: None,
) -> list[str]:
    """Read everything and compare.

    Args:
        features: the snippets that the index was made of; a sample of videos is embedded again.
        report: called with a sentence about each thing that was found to be right.

    Returns:
        What is wrong, a sentence each; empty if nothing is.

    Raises:
        MomentIndexError: it cannot even be opened.
    """
    manifest = read_manifest(root)
    wrong = list(changed_files(root, manifest))  # before a file is read as what it says that it is
    index = None if wrong else MomentIndex(root)
    if (index.manifest if index else read_manifest(root)).version != manifest.version:
        return verify(root, features, report)  # another process changed it meanwhile
    if index is None:
        return wrong
    if wrong := _model(index, report):
        return wrong
    report(f"checksums of {sum(len(s.entry.files) for s in index.segments)} files and of the model")
    wrong = [text for segment in index.segments for text in _tables(segment, manifest.spaces)]
    ids = index.video_ids
    if len(set(ids)) != len(ids):
        wrong.append(f"{root}: a video is there twice.")
    if wrong:
        return wrong
    report(
        "moments.parquet agrees with videos and grid in all "
        f"{sum(s.entry.moments for s in index.segments):,} rows"
    )
    if features is not None:
        checked, wrong = _embedded_again(index, features)
        if wrong:
            return wrong
        report(f"{checked} videos embedded again, equal within float16")
    if index.bank is not None:
        wrong = list(_hubs(index, index.bank))
        if wrong:
            return wrong
        report(
            f"h computed again from the {len(index.bank.sentences):,} sentences of the bank for a sample of "
            "moments"
        )
    if any(segment.vectors for segment in index.segments):
        report(
            f"candidate index: recall@10 after NMS {measured_recall(index):.3f} against the exact scan, new "
            "queries"
        )
    return []


def _model(index: MomentIndex, report: Callable[[str], None]) -> list[str]:
    """The model is the one that made the index, and the text encoder that it refers to is there."""
    about, made_by = model_info(index.model_path), index.manifest.fingerprint
    if about.fingerprint != made_by:
        return [
            f"{index.model_path}: is model {about.fingerprint[:16]}, the index was built with {made_by[:16]}."
        ]
    if about.encoder is not None:
        try:
            if is_zero_shot(about.path):
                load_model(about.path)
            else:
                find_encoder(about.encoder, checkpoint.info(about.path).text_config, about.path)
        except CheckpointError as error:
            return [str(error)]
        report(f"text encoder {about.encoder.name}, by its SHA-256")
    return []


def changed_files(root: Path, manifest: Manifest) -> Iterator[str]:
    """What of an index's files is not what its manifest says, a sentence each."""
    yield from changed(root, manifest.files)


def changed(folder: Path, files: Mapping[str, tuple[int, str]]) -> Iterator[str]:
    """What of some files is not what it was, a sentence each."""
    for name, (_, expected) in files.items():
        try:
            found = digest(folder / name)
        except OSError as error:
            yield f"{folder / name}: cannot be read ({error.strerror}). Build the index again."
            continue
        if found != expected:
            yield (
                f"{folder / name}: was changed: SHA-256 {found[:16]}, expected {expected[:16]}. Build the "
                "index again."
            )


def _tables(segment: Segment, spaces: int) -> Iterator[str]:
    """What of a segment's files disagrees with the others."""
    yield from _rows(segment)
    yield from _tubes(segment)
    yield from _lengths(segment, spaces)
    yield from _background(segment)


def _rows(segment: Segment) -> Iterator[str]:
    """Row n of moments.parquet has to say what row n of the embeddings is taken for."""
    first = 0
    columns = ["video", "video_id", "start", "end", "window", *(["tube"] if segment.tubes else [])]
    for batch in pq.ParquetFile(segment.folder / MOMENTS).iter_batches(1 << 16, columns=columns):
        rows = np.arange(first, first + len(batch))
        spans, windows = segment.spans(rows), rows // segment.per_window
        videos = segment.window_videos[windows]
        same = (batch["video"].to_numpy() == videos) & (batch["start"].to_numpy() == spans[:, 0])
        same &= batch["window"].to_numpy() == windows
        same &= (batch["end"].to_numpy() == spans[:, 1]) & (
            np.array(batch["video_id"].to_pylist()) == segment.names[videos]
        )
        if segment.tubes is not None:
            same &= batch["tube"].to_numpy() == segment.tubes.numbers[windows]
        if not same.all():
            yield (
                f"{segment.folder / MOMENTS}: row {first + int(np.argmin(same)):,} disagrees with "
                "videos.parquet and the grid."
            )
            return
        first += len(batch)


def _tubes(segment: Segment) -> Iterator[str]:
    """The tables of tubes, of boxes and of windows have to agree."""
    tubes = segment.tubes
    if tubes is None:
        return
    starts, lengths = (tubes.first_frames - 1) / tubes.rates, tubes.frames / tubes.rates
    if not (np.allclose(starts, segment.starts) and np.allclose(lengths, segment.lengths)):
        yield f"{segment.folder / WINDOWS}: disagrees with the times of {TUBES}."
    windows = np.repeat(np.arange(len(tubes.frames)), tubes.frames)
    within = np.arange(len(windows)) - np.repeat(tubes.frames.cumsum() - tubes.frames, tubes.frames)
    frames = tubes.first_frames[windows] + within
    first = 0
    for batch in pq.ParquetFile(segment.folder / BOXES).iter_batches(1 << 16, columns=["window", "frame"]):
        rows = slice(first, first + len(batch))
        same = (batch["window"].to_numpy() == windows[rows]) & (batch["frame"].to_numpy() == frames[rows])
        if not same.all():
            yield f"{segment.folder / BOXES}: row {first + int(np.argmin(same)):,} disagrees with {TUBES}."
            return
        first += len(batch)


def _lengths(segment: Segment, spaces: int) -> Iterator[str]:
    """What a scan proves rests on no embedding being longer than the manifest says."""
    count = segment.entry.moments
    for first in range(0, count, 1 << 16):
        part = segment.embeddings[first : first + (1 << 16)].float()
        lengths = part.view(len(part), spaces, -1).norm(dim=2).amax(dim=1)
        if not float(lengths.max()) <= segment.longest * _LONGER:
            row = first + int(lengths.argmax())
            yield (
                f"{segment.folder / EMBEDDINGS}: row {row:,} has length {float(lengths.max()):.4g}, expected "
                f"at most {segment.longest:g}. Build the index again."
            )
            return


def _background(segment: Segment) -> Iterator[str]:
    """The sample's rows are different ones, and its embeddings those of the rows."""
    rows = segment.drawn["row"].copy()
    inside = rows.min() >= 0 and rows.max() < segment.entry.moments and len(np.unique(rows)) == len(rows)
    if not inside or not np.array_equal(
        segment.embeddings[torch.from_numpy(rows)].numpy(), segment.drawn["embedding"]
    ):
        yield f"{segment.folder / BACKGROUND}: disagrees with {EMBEDDINGS}. Build the index again."


def _hubs(index: MomentIndex, bank: Bank) -> Iterator[str]:
    """What a segment says of its hubs has to be what its embeddings and the bank make."""
    for segment in index.segments:
        assert segment.hubs is not None
        count = segment.entry.moments
        rows = torch.from_numpy(
            np.sort(np.random.default_rng(0).choice(count, min(_HUBS, count), replace=False))
        )
        off = np.abs(segment.hubs[rows].numpy() - bank.hubs(segment.embeddings[rows]))
        if not off.max() <= _SAME:
            worst = int(off.argmax())
            yield (
                f"{segment.folder / HUBS}: row {int(rows[worst]):,} differs by {off[worst]:.4f} from what "
                "the bank gives."
            )


def _embedded_again(index: MomentIndex, features: FeatureFile | TubeVideos) -> tuple[int, list[str]]:
    check_backbone(model_info(index.model_path), features, index.model_path)
    model = load_model(index.model_path)
    live = np.flatnonzero(index.live)
    if not len(live):
        return 0, []
    chosen = np.random.default_rng(0).choice(live, min(_SAMPLE, len(live)), replace=False)
    present = [int(number) for number in chosen if index.video_id(number) in features]
    if not present:
        return 0, [
            (
                f"{features.path}: has none of the index's videos that were drawn, e.g. "
                f"'{index.video_id(int(chosen[0]))}'."
            )
        ]
    tubes = index.manifest.tubes
    wrong = [text for number in present for text in _other_tubes(index, features, number)]
    if wrong:
        return len(present), wrong
    windows = [
        (
            number,
            WindowOf(index.video_id(number), index.video(number).duration, window, first if tubes else None),
            first,
        )
        for number in present
        for first, window in enumerate(index.rows.windows_of(number)[:_WINDOWS])
    ]
    count, places = len(index.manifest.grid), iter(windows)
    for batch in encode(model, features, [where for _, where, _ in windows]):
        for made in batch:
            video, where, place = next(places)
            rows = index.rows_of(video)[place * count : (place + 1) * count]
            off = float(np.abs(index.vectors(rows).float().numpy() - made).max())
            if off > _CLOSE:
                wrong.append(
                    f"{index.root}: video '{where.video_id}' embedded again differs by {off:.4f}. "
                    "Were its features changed?"
                )
    return len(present), wrong


def _other_tubes(index: MomentIndex, features: FeatureFile | TubeVideos, number: int) -> Iterator[str]:
    """Whether a video's tubes and their boxes are those of a file of tubes."""
    if not isinstance(features, TubeVideos):
        return
    name, own = index.video_id(number), index.rows.tubes_of(number)
    numbers = features.numbers(name)
    same = [tube.number for tube, _ in own] == numbers and all(
        np.array_equal(boxes, found.tube.boxes) and tube.first_frame == found.tube.first
        for (tube, boxes), found in zip(own, features.tubes(name, features=False), strict=True)
    )
    if not same:
        yield f"{index.root}: video '{name}' has other tubes in {features.path}. Was the file made anew?"

"""mmn-index remove, compact, info and verify: what can be done to an index without embedding anything."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmn_index.readable import counted

from .build import index_argument, index_option
from .features import feature_options, open_source
from .output import print_json, print_line, progress, say, short_path
from .source import vector_options
from .table import print_table

if TYPE_CHECKING:
    from mmn_index.encoder_source import EncoderSource
    from mmn_index.index import MomentIndex, SegmentEntry


@click.command()
@click.argument("videos", nargs=-1, required=True)
@index_option
def remove(videos: tuple[str, ...], root: Path) -> None:
    """Take VIDEOS, given by their ids, out of an index.

    Running searches are not disturbed. `compact` frees the space.

    \b
    Example:
        mmn-index remove porch/cam1 porch/cam2
    """
    from mmn_index.index_build.change import remove as run

    result = run(root, videos)
    say(
        f"{root}: {counted(result.removed, 'video')} removed; {result.moments:,} moments of "
        f"{counted(result.videos, 'video')} are left."
    )


@click.command()
@index_argument
@vector_options
def compact(root: Path, vectors: str, max_bytes_per_moment: float | None, max_latency: float | None) -> None:
    """Merge the segments of an index into one, without the removed videos.

    Embeddings are copied, and nothing is embedded again. The candidate index is chosen and trained anew.

    \b
    Example:
        mmn-index compact collection.mmn
    """
    from mmn_index.index_build.candidates import Wish
    from mmn_index.index_build.change import compact as run

    with progress("copying videos") as report:
        result = run(root, Wish(vectors, max_bytes_per_moment, max_latency), report)
    say(
        f"{root}: {result.moments:,} moments of {counted(result.videos, 'video')} in one segment, "
        f"{result.entry.reason}."
    )


@click.command()
@index_argument
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def info(root: Path, as_json: bool) -> None:
    """Show what an index holds: counts, sizes, model, candidate indexes.

    \b
    Example:
        mmn-index info collection.mmn --json
    """
    from mmn_index.index import MomentIndex

    index = MomentIndex(root)
    weight = Weight.of(index)
    if as_json:
        print_json(_record(index, weight))
        return
    for line in _description(index, weight):
        print_line(line)
    print_table(*_segments(index))
    head, columns = _columns(index)
    if columns:
        print_table(head, columns, left=2)
    entries = index.manifest.segments
    for reason in dict.fromkeys(entry.reason for entry in entries if entry.reason):
        print_line(f"search: {reason}")
    removed = any(entry.removed for entry in entries)
    scanned = sum(entry.moments for entry in entries if entry.candidates is None)
    if removed or (len(entries) > 1 and scanned > 200_000) or len(entries) > 8:
        say("`mmn-index compact` merges the segments and drops removed videos.")


@dataclass(frozen=True)
class Weight:
    """What an index takes on disk, in bytes."""

    moments: int
    bank: int
    model: int  # in the index's folder, with the text encoder's weights where they are there
    manifest: int
    encoder: "EncoderSource | None"  # a frozen text encoder
    place: Path | None  # where it lies, as far as that shows without reading it

    @classmethod
    def of(cls, index: "MomentIndex") -> "Weight":
        """All of it, as the manifest says, and the text encoder that the model refers to."""
        from mmn_index.encoder_lookup import where_encoder
        from mmn_index.index.manifest import NAME
        from mmn_index.models import model_info

        manifest, path = index.manifest, index.model_path
        encoder = model_info(path).encoder
        return cls(
            sum(_bytes(entry) for entry in manifest.segments),
            manifest.bank.bytes if manifest.bank else 0,
            sum(size for size, _ in manifest.model_files.values()),
            (index.root / NAME).stat().st_size,
            encoder,
            None if encoder is None else where_encoder(encoder, path),
        )

    @property
    def inside(self) -> int:
        """In the index's folder."""
        return self.moments + self.bank + self.model + self.manifest

    @property
    def outside(self) -> int:
        """Of a text encoder that is not in the index's folder."""
        return self.encoder.bytes if self.encoder and not self._contained else 0

    @property
    def _contained(self) -> bool:
        return self.place is not None and self.place.is_file()

    def sentence(self) -> str:
        """For people."""
        parts = [("moments", self.moments), ("bank", self.bank), ("model", self.model)]
        text = ", ".join(f"{name} {size / 1e6:,.1f}" for name, size in parts if size)
        whole = f"{(self.inside + self.outside) / 1e6:,.1f} MB in all"
        if self.encoder is None or self._contained:
            return f"{whole}: {text}"
        where = f"in {short_path(self.place)}" if self.place else "not found on this machine"
        return (
            f"{whole}: {self.inside / 1e6:,.1f} in the index ({text}) and {self.outside / 1e6:,.1f} outside "
            f"it, the text encoder {self.encoder.name}, {where}"
        )

    def record(self) -> dict[str, Any]:
        """For programs."""
        encoder = self.encoder and {
            **self.encoder.to_json(),
            "inside": self._contained,
            "path": None if self.place is None else str(self.place),
        }
        return {
            "bank_bytes": self.bank,
            "model_bytes": self.model,
            "index_bytes": self.inside,
            "total_bytes": self.inside + self.outside,
            "text_encoder": encoder,
        }


def _bytes(entry: "SegmentEntry") -> int:
    return sum(size for size, _ in entry.files.values())


def _per_moment(index: "MomentIndex", weight: Weight) -> float | None:
    rows = sum(entry.moments for entry in index.manifest.segments)
    return weight.moments / rows if rows else None


def _record(index: "MomentIndex", weight: Weight) -> dict[str, Any]:
    """All of an index as one JSON object."""
    manifest, each = index.manifest, _per_moment(index, weight)
    return {
        "version": manifest.version,
        "moments": index.num_moments,
        "videos": len(index.video_ids),
        "removed_videos": sum(len(entry.removed) for entry in manifest.segments),
        "bytes": weight.moments,
        "bytes_per_moment": None if each is None else round(each, 1),
        **weight.record(),
        "model": manifest.fingerprint,
        "features": manifest.features,
        "joint_dim": manifest.joint_dim,
        "spaces": manifest.spaces,
        "score": manifest.score.name,
        "hub": manifest.score.hub,
        "bank": asdict(manifest.bank) if manifest.bank else None,
        "calibration": asdict(manifest.calibration) if manifest.calibration else None,
        "columns": index.columns.names,
        "column_types": {field.name: str(field.type) for field in index.columns},
        **({"tubes": _tubes(index)} if manifest.tubes else {}),
        "segments": [
            {
                "id": entry.id,
                "videos": entry.videos,
                "moments": segment.moments,
                "removed_videos": len(entry.removed),
                "bytes": _bytes(entry),
                "candidates": asdict(entry.candidates) if entry.candidates else None,
                "reason": entry.reason,
            }
            for segment, entry in zip(index.segments, manifest.segments, strict=True)
        ],
    }


def _tubes(index: "MomentIndex") -> int:
    """How many tubes the videos have that were not removed."""
    return sum(int(segment.live[segment.window_videos].sum()) for segment in index.segments)


def _description(index: "MomentIndex", weight: Weight) -> Iterator[str]:
    """An index in lines for people."""
    manifest = index.manifest
    removed = sum(len(entry.removed) for entry in manifest.segments)
    gone = counted(removed, "removed video")
    yield (
        f"{index.root}, version {manifest.version}: {index.num_moments:,} moments of "
        f"{counted(len(index.video_ids), 'video')}"
        f"{f', {gone} still on disk' if removed else ''}"
    )
    if manifest.tubes:
        yield f"moments of {_tubes(index):,} tubes: people with a box in each frame"
    yield weight.sentence()
    yield (
        f"{_per_moment(index, weight) or 0:,.0f} bytes a moment; float16 embeddings of "
        f"{manifest.spaces} x {manifest.joint_dim}"
    )
    yield (
        f"model {manifest.fingerprint[:16]}, features {manifest.features or 'of unknown backbone'}, score "
        f"{manifest.score.name}"
    )
    if manifest.bank is not None:
        yield (
            f"bank of {manifest.bank.sentences:,} sentences, {manifest.bank.kind}, hub correction "
            f"{manifest.score.hub:g}"
        )
    if manifest.calibration is not None:
        yield (
            f"calibrated on {manifest.calibration.hits:,} hits: weight {manifest.score.weight:g}, "
            f"calibration error {manifest.calibration.error:.3f}"
        )
    yield f"columns for --where: {', '.join(index.columns.names)}"


def _segments(index: "MomentIndex") -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of segments."""
    table = []
    for segment, entry in zip(index.segments, index.manifest.segments, strict=True):
        about = entry.candidates
        how = (
            ["scan", "", "1 (exact)"]
            if about is None
            else [about.factory, str(about.nprobe), f"{about.recall or 0:.3f}"]
        )
        counts = [f"{count:,}" for count in (entry.videos, segment.moments, len(entry.removed))]
        table.append([entry.id, *counts, f"{_bytes(entry) / 1e6:,.1f}", *how])
    return ["segment", "videos", "moments", "removed", "MB", "search", "nprobe", "recall@10"], table


_KINDS = {"string": "text", "int64": "whole number", "double": "number", "bool": "true or false"}


def _columns(index: "MomentIndex") -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of columns, the index's own left out."""
    from mmn_index.index.segment_files import VIDEO_COLUMNS

    here, table = index.videos.filter(index.live), []
    for field in index.columns:
        if field.name not in VIDEO_COLUMNS.names:
            kind = str(field.type)
            kind = "time, UTC" if kind.endswith("tz=UTC]") else _KINDS.get(kind, kind)
            given = len(here) - here[field.name].null_count
            table.append([field.name, kind, f"{given:,} of {len(here):,}"])
    return ["column", "type", "videos"], table


@click.command()
@index_argument
@click.option(
    "--features",
    type=click.Path(path_type=Path),
    help="Features from which a sample of videos is embedded again.",
)
@feature_options
def verify(root: Path, features: Path | None) -> None:
    """Read every byte of an index and compare: checksums, counts, rows, and what its candidate index finds.

    \b
    Example:
        mmn-index verify collection.mmn --features features.h5
    """
    from contextlib import ExitStack

    from mmn_index.index_build.verify import verify as run

    with ExitStack() as stack:
        opened = stack.enter_context(open_source(features)) if features else None
        wrong = run(root, opened, lambda text: say(f"right: {text}"))
    if wrong:
        raise click.ClickException(" ".join(wrong))
    say(f"{root}: nothing is wrong.")

"""mmn-index remove, compact, info and verify: what can be done to an index without embedding anything."""

from dataclasses import asdict
from pathlib import Path

import click

from .build import index_option, vector_options
from .features import feature_options, open_features
from .output import print_json, print_line, print_table, progress, say


@click.command()
@click.argument("videos", nargs=-1, required=True)
@index_option
def remove(videos: tuple[str, ...], root: Path) -> None:
    """Take VIDEOS, given by their ids, out of an index.

    Searches that began before are not disturbed. The space comes back with `compact`.

    \b
    Example:
        mmn-index remove porch/cam1 porch/cam2
    """
    from mmn_index.index_build.change import remove as run

    result = run(root, videos)
    say(
        f"{root}: {result.removed} videos removed; {result.moments:,} moments of {result.videos:,} videos "
        "are left."
    )


@click.command()
@index_option
@vector_options
def compact(root: Path, vectors: str, max_bytes_per_moment: float | None, max_latency: float | None) -> None:
    """Merge the segments of an index into one, without the removed videos.

    Embeddings are copied, nothing is embedded again; the candidate index is chosen and trained anew.

    \b
    Example:
        mmn-index compact --index collection.mmn
    """
    from mmn_index.index_build.candidates import Wish
    from mmn_index.index_build.change import compact as run

    with progress("copying videos") as report:
        result = run(root, Wish(vectors, max_bytes_per_moment, max_latency), report)
    say(
        f"{root}: {result.moments:,} moments of {result.videos:,} videos in one segment, "
        f"{result.entry.reason}."
    )


@click.command()
@index_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def info(root: Path, as_json: bool) -> None:
    """Show what an index holds: counts, sizes, model, candidate indexes.

    \b
    Example:
        mmn-index info --json
    """
    from mmn_index.index import MomentIndex

    index = MomentIndex(root)
    manifest = index.manifest
    size = sum(size for entry in manifest.segments for size, _ in entry.files.values())
    rows = sum(entry.moments for entry in manifest.segments)
    removed = sum(len(entry.removed) for entry in manifest.segments)
    scanned = sum(entry.moments for entry in manifest.segments if entry.candidates is None)
    columns = index.columns.names
    if as_json:
        print_json(
            {
                "version": manifest.version,
                "moments": index.num_moments,
                "videos": len(index.video_ids),
                "removed_videos": removed,
                "bytes": size,
                "bytes_per_moment": round(size / rows, 1) if rows else None,
                "model": manifest.fingerprint,
                "features": manifest.features,
                "joint_dim": manifest.joint_dim,
                "score": manifest.score.name,
                "hub": manifest.score.hub,
                "bank": asdict(manifest.bank) if manifest.bank else None,
                "calibration": asdict(manifest.calibration) if manifest.calibration else None,
                "columns": columns,
                "segments": [
                    {
                        "id": entry.id,
                        "videos": entry.videos,
                        "moments": entry.moments,
                        "removed_videos": len(entry.removed),
                        "bytes": sum(size for size, _ in entry.files.values()),
                        "candidates": asdict(entry.candidates) if entry.candidates else None,
                        "reason": entry.reason,
                    }
                    for entry in manifest.segments
                ],
            }
        )
        return
    dropped = f", {removed:,} removed videos still on disk" if removed else ""
    print_line(
        f"{root}, version {manifest.version}: {index.num_moments:,} moments of {len(index.video_ids):,} "
        f"videos{dropped}"
    )
    print_line(
        f"{size / 1e6:,.1f} MB, {size / rows if rows else 0:,.0f} bytes a moment; float16 embeddings of 2 x "
        f"{manifest.joint_dim}"
    )
    print_line(
        f"model {manifest.fingerprint[:16]}, features {manifest.features or 'of unknown backbone'}, score "
        f"{manifest.score.name}"
    )
    if manifest.bank is not None:
        print_line(
            f"bank of {manifest.bank.sentences:,} sentences, {manifest.bank.kind}, hub correction "
            f"{manifest.score.hub:g}"
        )
    if manifest.calibration is not None:
        print_line(
            f"calibrated on {manifest.calibration.hits:,} hits: weight {manifest.score.weight:g}, "
            f"calibration error {manifest.calibration.error:.3f}"
        )
    print_line(f"columns for --where: {', '.join(columns)}")
    table = []
    for entry in manifest.segments:
        megabytes, about = sum(size for size, _ in entry.files.values()) / 1e6, entry.candidates
        how = (
            ["scan", "", "1 (exact)"]
            if about is None
            else [about.factory, str(about.nprobe), f"{about.recall or 0:.3f}"]
        )
        counts = [f"{count:,}" for count in (entry.videos, entry.moments, len(entry.removed))]
        table.append([entry.id, *counts, f"{megabytes:,.1f}", *how])
    print_table(["segment", "videos", "moments", "removed", "MB", "search", "nprobe", "recall@10"], table)
    for reason in dict.fromkeys(entry.reason for entry in manifest.segments if entry.reason):
        print_line(f"search: {reason}")
    if removed or (len(manifest.segments) > 1 and scanned > 200_000) or len(manifest.segments) > 8:
        say("`mmn-index compact` merges the segments and drops removed videos.")


@click.command()
@index_option
@click.option(
    "--features", type=click.Path(path_type=Path), help="Embed a sample of videos again from these snippets."
)
@feature_options
def verify(root: Path, features: Path | None) -> None:
    """Read every byte of an index and compare: checksums, counts, rows, and what its candidate index finds.

    \b
    Example:
        mmn-index verify --features features.h5
    """
    from contextlib import ExitStack

    from mmn_index.index_build.verify import verify as run

    with ExitStack() as stack:
        opened = stack.enter_context(open_features(features)) if features else None
        wrong = run(root, opened, lambda text: say(f"right: {text}"))
    if wrong:
        raise click.ClickException(" ".join(wrong))
    say(f"{root}: nothing is wrong.")

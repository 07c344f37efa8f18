"""mmn-index build: a checkpoint and features to an index."""

from pathlib import Path

import click

from .output import progress, say


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("features", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Index directory, such as collection.mmn.")
@click.option(
    "--videos", type=click.Path(path_type=Path), help="Annotation file (json): index only its videos, with its durations."
)
@click.option("--score", default="collection", show_default=True, help="Default ranking: collection, product, contrastive or iou.")
@click.option("--overwrite", is_flag=True, help="Replace an index that is there.")
@click.option("--device", default="cpu", show_default=True)
def build(checkpoint: Path, features: Path, out: Path, videos: Path | None, score: str, overwrite: bool, device: str) -> None:
    """Embed every proposal of every video of FEATURES with CHECKPOINT and write a searchable index.

    \b
    Example:
        mmn-index build run/model features.h5 -o collection.mmn
    """
    from mmn_index.index_build.build import build as run
    from mmn_index.train.annotations import read_annotations

    from mmn_index.features import FeatureFile

    durations = {video.video_id: video.duration for video in read_annotations(videos).videos} if videos else None
    with progress("embedding videos") as report, FeatureFile(features) as opened:
        result = run(
            checkpoint, opened, out, durations=durations, score=score, overwrite=overwrite, device=device, report=report
        )  # fmt: skip
    say(f"{result.root}: {result.moments:,} moments of {result.videos:,} videos.")

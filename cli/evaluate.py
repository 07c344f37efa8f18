"""mmn-index eval: recall of a checkpoint, within a video and over a collection."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import print_json, print_table, progress

if TYPE_CHECKING:
    from torch import Tensor


@click.command("eval")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--features", type=click.Path(path_type=Path), required=True, help="Snippet features, HDF5.")
@click.option("--annotations", type=click.Path(path_type=Path), required=True, help="Split to evaluate, json.")
@click.option("--index", "root", type=click.Path(path_type=Path), help="Search this index as well: recall over the collection.")
@click.option("--seen", type=click.Path(path_type=Path),
              help="Training split: its wordings are also evaluated apart from those that it does not have.")  # fmt: skip
@click.option("--score", help="collection, product, contrastive or iou. Default: product within a video, the index's own over it.")
@click.option("--nms", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Temporal IoU above which NMS drops.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--device", default="cpu", show_default=True)
def evaluate(
    checkpoint: Path, features: Path, annotations: Path, root: Path | None, seen: Path | None, score: str | None, nms: float,
    as_json: bool, device: str,
) -> None:  # fmt: skip
    """Evaluate CHECKPOINT on annotated videos: R@n,IoU=m in percent, beside chance.

    \b
    Example:
        mmn-index eval run/model --features features.h5 --annotations test.json --index collection.mmn --seen train.json
    """
    from mmn_index.train.annotations import read_annotations
    from mmn_index.train.collection import evaluate_collection
    from mmn_index.train.evaluate import evaluate_videos

    from mmn_index import checkpoint as checkpoints
    from mmn_index.clips import stored_pre_clips
    from mmn_index.features import FeatureFile
    from mmn_index.index import MomentIndex

    split = read_annotations(annotations)
    wordings = {sentence for video in read_annotations(seen).videos for sentence in video.sentences} if seen else None
    index = MomentIndex(root) if root else None
    if index:
        index.check_model(checkpoints.info(checkpoint).fingerprint, str(checkpoint))
    model = checkpoints.load(checkpoint, device)
    with FeatureFile(features) as opened, progress("within the video") as report:
        within_score = score or "product"
        within = evaluate_videos(
            model,
            split.videos,
            lambda video_id: stored_pre_clips(opened, video_id, model.config),
            score=within_score,
            nms=nms,
            report=report,
        )
    title = f"Within the right video, {len(within.sentences)} queries, score {within_score}, NMS {nms:g}"
    _show(title, "video", within.table, within.chance(), within.sentences, wordings, as_json)
    if index:
        with progress("over the collection") as report:
            over = evaluate_collection(index, model, split, score=score, nms=nms, report=report)
        name = score or index.manifest.score.name
        title = (
            f"Over the collection of {index.num_moments:,} moments, {len(over.sentences)} queries, score {name}, NMS {nms:g}, "
            f"{over.exact} answers proven exact"
        )
        _show(title, "collection", over.table, over.chance(), over.sentences, wordings, as_json)


def _show(
    title: str, scope: str, table: "Callable[[Tensor | None], dict[str, float]]", chance: dict[str, float],
    sentences: tuple[str, ...], wordings: set[str] | None, as_json: bool,
) -> None:  # fmt: skip
    """One block of results: all queries, then by whether training had their wording, then chance."""
    import torch

    groups: dict[str, dict[str, float]] = {"all": table(None)}
    if wordings is not None:
        known = torch.tensor([sentence in wordings for sentence in sentences])
        for name, rows in (("seen wordings", known), ("unseen wordings", ~known)):
            if rows.any():
                groups[f"{name} ({int(rows.sum())})"] = table(rows)
    groups["chance"] = chance
    if as_json:
        for name, values in groups.items():
            finite = {key: round(value, 3) for key, value in values.items() if value == value}
            print_json({"scope": scope, "queries": name, "title": title, **finite})
        return
    click.echo(f"\n{title}:")
    columns = list(groups["all"])
    lines = [[name, *(_number(values.get(column)) for column in columns)] for name, values in groups.items()]
    print_table(["", *columns], lines)


def _number(value: float | None) -> str:
    return "" if value is None or value != value else f"{value:.1f}"

"""The part of `mmn-index eval` that searches a collection."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import print_json, print_table, progress, say

if TYPE_CHECKING:
    from mmn_index.train.annotations import Annotations
    from mmn_index.train.corpus_report import Table

    from mmn_index.index import MomentIndex
    from mmn_index.scoring import Embeddings, Score

_BATCH = 64  # sentences that are embedded at once
_HIT = "temporal IoU >= m in float32; R@k: a right answer among the first k; AP: one credit a video, of the first 100"


def corpus_recall(
    root: Path, split: "Annotations", train: "Annotations | None", *, score: str | None, nms: float, folder: Path | None,
    as_json: bool, device: str,
) -> None:  # fmt: skip
    """Search every sentence of a split in an index; print what was found, and keep it in a folder."""
    from mmn_index.train.corpus import IndexRank
    from mmn_index.train.corpus_report import evaluate_corpus, write_report
    from mmn_index.train.queries import indexed, queries_of

    index, chosen = _open(root, score, device)
    corpus = indexed(index)
    queries = queries_of(split, corpus)
    rank = IndexRank(index, _embed(index, queries.sentences, device), chosen)
    candidates = any(segment.vectors for segment in index.segments) and index.device.type == "cpu"
    with progress("searching") as report:
        result = evaluate_corpus(queries, corpus, rank, nms=nms, candidates=candidates, train=train, report=report)
    about = {**_about(index, chosen), "annotations": str(split.path), "queries": len(queries), "NMS": nms,
             "training split": str(train.path) if train else None}  # fmt: skip
    if as_json:
        for record in result.records:
            print_json({"scope": "corpus", "score": chosen.name, **record})
    else:
        title = f"{len(queries):,} queries in {index.num_moments:,} moments of {len(corpus.ids):,} videos, score {chosen.name}"
        click.echo(f"\n{title}, lists of 100:")
        for table in result.tables(with_intervals=False):
            show(table)
        click.echo(f"\nA hit: {_HIT}; chance: random order, no NMS.")
    if folder:
        write_report(folder, about, result)
        say(f"{folder}: results.json, results.md, results.png.")


def show(table: "Table") -> None:
    """A table on stdout, with its title."""
    click.echo(f"\n{table.title}:")
    print_table(table.header, table.rows, left=table.left)


def _open(root: Path, score: str | None, device: str) -> "tuple[MomentIndex, Score]":
    from mmn_index.device import find_device
    from mmn_index.index import MomentIndex

    find_device(device)
    index = MomentIndex(root, device)
    return index, index.manifest.score if score is None else index.manifest.with_score(score)


def _embed(index: "MomentIndex", sentences: tuple[str, ...], device: str) -> "Embeddings":
    """Query embeddings by the model that made the index, two of (Q, C)."""
    import torch

    from mmn_index import checkpoint
    from mmn_index.scoring import Embeddings

    index.check_model(checkpoint.info(index.model_path).fingerprint, str(index.model_path))
    model = checkpoint.load(index.model_path, device)
    with torch.inference_mode():
        parts = [model.embed_sentences(sentences[first : first + _BATCH]) for first in range(0, len(sentences), _BATCH)]
    return Embeddings(*(torch.cat(part).cpu() for part in zip(*parts, strict=True)))


def _about(index: "MomentIndex", score: "Score") -> dict[str, Any]:
    """What results depend on, for the record."""
    import platform
    from dataclasses import asdict

    import torch

    from mmn_index._version import __version__

    return {
        "index": str(index.root),
        "index version": index.version,
        "model": index.manifest.fingerprint,
        "videos": len(index.video_ids),
        "moments": index.num_moments,
        "candidate index": [entry.candidates.factory if entry.candidates else None for entry in index.manifest.segments],
        "score": asdict(score),
        "a hit": _HIT,
        "versions": {"mmn-index": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }

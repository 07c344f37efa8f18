"""Fit what an index is searched with on validation sentences: how the two spaces are weighed, and what a
confidence is.

The validation videos are an index of their own, searched like any other. Two numbers of the score are tried
on a small grid, the weight of the contrastive cosine and the strength of the hub correction; the highest
average precision decides. Then a confidence is fitted (mmn_index/confidence.py): on what every sentence
finds, and on what it finds where all videos with a right answer are left out, so that half of the searches
are for something absent.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from mmn_index.confidence import Calibration, fit
from mmn_index.evaluation.corpus import DEPTHS, IndexRank, Report, batches, silent
from mmn_index.evaluation.queries import Queries
from mmn_index.evaluation.recall import average_precision, best_ious, hits
from mmn_index.evaluation.refusal import HIT, Judged, meaning, wordings
from mmn_index.features import FeatureFile
from mmn_index.index import IndexWriter, MomentIndex
from mmn_index.index.bank import write_bank
from mmn_index.models import model_info
from mmn_index.moment_model import MomentModel
from mmn_index.scoring import HUB_SCORES, Embeddings, Score
from mmn_index.search import SearchOptions

from .candidates import Wish
from .embed import write_segment
from .source import Source, check_backbone, planned

WEIGHTS = (0.5, 0.7, 1.0, 1.4, 2.0)  # of the contrastive cosine
HUBS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Tried:
    """One score of the grid."""

    score: Score
    precisions: Tensor  # (wordings,) float64 average precision

    @property
    def mean(self) -> float:
        """Mean average precision, 0 to 1."""
        return float(self.precisions.mean())


def validation_index(
    index: MomentIndex,
    model: MomentModel,
    features: FeatureFile,
    durations: Mapping[str, float],
    root: Path,
    *,
    report: Report = silent,
) -> MomentIndex:
    """Other videos as an index of their own: embedded with an index's model, measured against its bank,
    scanned exactly.

    Args:
        model: the index's, from its `model_path`.
        durations: seconds by video id, of the videos to take.
        root: where to write it.

    Raises:
        FeatureError: a video has no usable features, or they are of another backbone.
        OutputError: it cannot be written.
    """
    about = model_info(index.model_path)
    index.check_model(about.fingerprint, str(index.model_path))
    check_backbone(about, features, index.model_path)
    source = Source(features, durations, wish=Wish("exact"))
    videos = planned(features, durations, index.manifest.windows or about.windows)
    with IndexWriter(root) as writer:
        manifest = replace(
            index.manifest, segments=(), bank=None if index.bank is None else write_bank(index.bank, root)
        )
        entry = write_segment(writer, manifest, model, videos, source, index.bank, report)
        writer.publish(replace(manifest, segments=(entry,)), index.model_path)
    return MomentIndex(root, str(model.device))


def try_scores(
    index: MomentIndex, embeddings: Embeddings, queries: Queries, *, nms: float = 0.5, report: Report = silent
) -> list[Tried]:
    """Average precision of every score of the grid, in the order of the grid; every wording counts once.

    Args:
        index: of the validation videos.
        embeddings: of the queries, two of (Q, C).
    """
    own, numbers = index.manifest.score, wordings(queries)
    hubs = HUBS if index.manifest.bank is not None and own.name in HUB_SCORES else (0.0,)
    weights = WEIGHTS if own.name == "collection" else (1.0,)
    grid = [replace(own, weight=weight, hub=hub) for weight in weights for hub in hubs]
    rights, found = queries.right[meaning(queries)], []
    for tried, score in enumerate(grid, 1):
        rank, options = IndexRank(index, embeddings, score), SearchOptions(k=DEPTHS[-1], nms=nms)
        answers = [answer for batch in batches(numbers) for answer in rank(batch, options)]
        precisions = [
            average_precision(answer, hits(best_ious(answer, rights[number]), HIT), rights[number])
            for number, answer in zip(numbers, answers, strict=True)
        ]
        found.append(Tried(score, torch.tensor(precisions, dtype=torch.float64)))
        report(tried, len(grid), what="scores")
    return found


def chosen(tried: Sequence[Tried], own: Score) -> Score:
    """Of the scores that are not worse than the best by more than a standard error, the one nearest to what
    the index has.

    The error is that of their difference, sentence by sentence: a grid's maximum alone would follow the noise
    of a few sentences.
    """
    best = max(tried, key=lambda one: one.mean)
    count = len(best.precisions)

    def behind(one: Tried) -> bool:
        gap = best.precisions - one.precisions
        return count < 2 or float(gap.mean()) > float(gap.std()) / count**0.5

    near = [best, *(one for one in tried if one is not best and not behind(one))]
    return min(
        (one.score for one in near),
        key=lambda score: (abs(math.log(score.weight / own.weight)), abs(score.hub - own.hub)),
    )


def fit_confidence(present: Judged, absent: Judged) -> Calibration:
    """A confidence for hits of which as many searches look for what is there as for what is not."""
    return fit(torch.cat([present.quantities, absent.quantities]), torch.cat([present.right, absent.right]))

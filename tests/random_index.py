"""An index of random unit vectors for the videos of a split: whatever is searched in it, the numbers are
those of chance.

Used by test_chance.py and by benchmarks/chance.py.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mmn_index.evaluation.annotations import Annotations
from mmn_index.evaluation.corpus import Outcome
from mmn_index.index import IndexWriter, Manifest, PlannedVideo
from mmn_index.proposals import ProposalGrid
from mmn_index.scoring import Embeddings, Score


def units(random: np.random.Generator, count: int, dim: int) -> np.ndarray:
    """(count, 2, dim) float32: both spaces, each vector of length 1, in all directions alike."""
    vectors = random.standard_normal((count, 2, dim), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=2, keepdims=True)


def write_index(root: Path, split: Annotations, grid: ProposalGrid, dim: int, seed: int = 0) -> None:
    random = np.random.default_rng(seed)
    model = root.parent / "model"
    model.mkdir(exist_ok=True)
    with IndexWriter(root) as writer:
        planned = [PlannedVideo(video.video_id, None, video.duration) for video in split.videos]
        segment = writer.segment(grid, dim, planned, "random")
        for _ in split.videos:
            segment.add(units(random, len(grid), dim).reshape(len(grid), 2 * dim).astype(np.float16))
        manifest = Manifest("f" * 64, None, dim, grid, Score(), ())
        writer.publish(replace(manifest, segments=(segment.finish(),)), model)


def every(split: Annotations, step: int) -> Annotations:
    """One sentence in so many, those of all videos counted together; videos that are left without one are
    left out.
    """
    videos, count = [], 0
    for video in split.videos:
        chosen = [n for n in range(len(video.sentences)) if (count + n) % step == 0]
        count += len(video.sentences)
        if chosen:
            sentences, positions = (tuple(x[n] for n in chosen) for x in (video.sentences, video.positions))
            videos.append(
                replace(video, moments=video.moments[chosen], sentences=sentences, positions=positions)
            )
    return replace(split, videos=tuple(videos))


def queries(count: int, dim: int, seed: int = 1) -> Embeddings:
    both = torch.from_numpy(units(np.random.default_rng(seed), count, dim))
    return Embeddings(both[:, 0], both[:, 1])


def deviations(outcome: Outcome) -> list[float]:
    """How many standard errors each R@k lies above its chance; nan where chance leaves nothing open."""
    found, chances = outcome.values[:, : len(outcome.depths)], outcome.chances
    assert chances is not None
    error = (chances * (1 - chances)).sum(dim=0).sqrt() / len(chances)
    return torch.where(error > 1e-9, (found.mean(dim=0) - chances.mean(dim=0)) / error, torch.nan).tolist()

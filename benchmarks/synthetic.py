"""Moments and queries like those of a trained MMN, at any size.

A video passes through a few actions, each in a stretch of its own. The embedding of a moment, in each of the
two spaces, is

    unit( centre of the video + STRENGTH * sum over its actions of (temporal IoU of moment and stretch) * the
    action + noise )

so it is smooth in where the moment starts and ends, moments of a video are near-duplicates, and moments of
one action in many videos lie near each other. A query is an action seen from off the manifold of the moments,
as text is: its cosine with the action is QUERY_COSINE in either space, the rest is noise in all DIM
directions.

Beside a trained model's moments (ucf-moments, real features): there the best moment's contrastive cosine with
a sentence is 0.90 and 9 standard deviations above the mean, the IoU space's 4; neighbours in the map have a
cosine of 0.95, moments of a video 0.83. Here it is 0.52 and 7.5 standard deviations in both spaces;
neighbours 0.96, moments of a video 0.55. What decides is harder here: on ucf-moments 1 % of the lists of an
inverted file hold all of the exact top 10, here it takes more of them and deeper ones. With RANK and FADE
moments and actions lie in fewer directions.
"""

from collections.abc import Iterator
from functools import cache

import numpy as np
import torch

from mmn_index.moments import temporal_iou
from mmn_index.proposals import ProposalGrid
from mmn_index.scoring import Embeddings

GRID = ProposalGrid(64, (15, 8, 8))  # ActivityNet Captions: 1,104 moments a video
DIM = 256  # of each space
ACTIONS, PER_VIDEO = 200, 5
STRENGTH, INSTANCE, NOISE = 4.0, 0.4, 0.1
RANK, FADE = 256, 1.0  # axes that moments use; each has FADE times the standard deviation of the one before
QUERY_COSINE = 0.6
SECONDS = 120.0  # length of every video


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@cache
def _axes(dim: int) -> np.ndarray:
    """(2, RANK, dim), of fewer dimensions as many as there are: orthogonal, fading."""
    random, rank = np.random.default_rng(5), min(RANK, dim)
    axes = np.stack([np.linalg.qr(random.normal(size=(dim, rank)))[0].T for _ in range(2)])
    return (axes * FADE ** np.arange(rank)[:, None]).astype(np.float32)


def _directions(random: np.random.Generator, dim: int, *shape: int) -> np.ndarray:
    """Unit vectors of the subspace, (*shape, 2, dim)."""
    axes = _axes(dim)
    return _unit(
        np.einsum("...hr,hrd->...hd", random.normal(size=(*shape, *axes.shape[:2])).astype(np.float32), axes)
    )


def _actions(dim: int) -> np.ndarray:
    """(ACTIONS, 2, dim) unit vectors."""
    return _directions(np.random.default_rng(7), dim, ACTIONS)


def embeddings(
    videos: int, seed: int = 0, *, grid: ProposalGrid = GRID, dim: int = DIM
) -> Iterator[np.ndarray]:
    """(P, 2 dim) float32 of one video after the other; P are the moments of the grid."""
    random, actions = np.random.default_rng(seed), _actions(dim)
    spans = grid.seconds(1.0)
    for _ in range(videos):
        drawn = actions[random.integers(ACTIONS, size=PER_VIDEO)]
        chosen = drawn + INSTANCE * _directions(random, dim, PER_VIDEO)
        middle, half = random.uniform(0.05, 0.95, size=PER_VIDEO), random.uniform(0.04, 0.25, size=PER_VIDEO)
        stretches = torch.from_numpy(
            np.stack([(middle - half).clip(0), (middle + half).clip(max=1)], axis=1)
        ).float()
        weight = temporal_iou(spans[:, None], stretches[None]).numpy()  # (P, PER_VIDEO)
        moments = _directions(random, dim) + STRENGTH * np.einsum("pk,khd->phd", weight, _unit(chosen))
        moments += NOISE * _directions(random, dim, len(spans))
        yield _unit(moments).reshape(len(spans), 2 * dim)


def queries(count: int, seed: int = 1, *, dim: int = DIM) -> Embeddings:
    """Unit query embeddings, two of (count, dim)."""
    random = np.random.default_rng(seed)
    action = _actions(dim)[random.integers(ACTIONS, size=count)]
    noise = random.normal(size=action.shape).astype(np.float32)
    noise = _unit(noise - (noise * action).sum(axis=-1, keepdims=True) * action)
    found = QUERY_COSINE * action + np.sqrt(1 - QUERY_COSINE**2) * noise
    return Embeddings(*(torch.from_numpy(found[:, half].astype(np.float32)) for half in (0, 1)))

"""Where the rows of segments lie when they are scanned: on the CPU, or cut over GPUs."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..device import room
from ..errors import ConfigError
from ..scoring import Embeddings, Score
from .scan import Deadline, best_of_all
from .segment import Segment
from .selection import Part

Ranges = Sequence[tuple[int, int]]  # stretches [first, last) of a segment's rows


@dataclass(frozen=True)
class Shard:
    """Some rows of a segment, on the device that scans them."""

    first: int  # row of the segment
    embeddings: Tensor  # (n, spaces * C) float16
    hubs: Tensor | None  # (n,) float32
    longest: float  # length that no embedding exceeds


def place(
    segments: Sequence[Segment], devices: Sequence[torch.device], ranges: Sequence[Ranges] | None = None
) -> tuple[list[list[Shard]], list[bool]]:
    """Where each segment is scanned, and whether it always is, candidate index or not.

    Args:
        ranges: which rows of each segment; None for all.

    Raises:
        ConfigError: GPUs have no room for the embeddings of a segment, and it has no candidate index that
            they could hold.
    """
    ranges = [whole(segment) for segment in segments] if ranges is None else ranges
    if devices[0].type == "cpu":
        return [_shards(segment, devices, own) for segment, own in zip(segments, ranges, strict=True)], [
            segment.vectors is None for segment in segments
        ]
    left, shards, scanned = room(devices), [], []
    for segment, own in zip(segments, ranges, strict=True):
        size = segment.embeddings.nbytes + (0 if segment.hubs is None else segment.hubs.nbytes)
        size = size * sum(last - first for first, last in own) // segment.entry.moments
        share = -(-size // len(devices))
        if fits := share <= left:
            left -= share
        elif segment.vectors is not None and segment.vectors.suits_gpus:
            segment.vectors.to(devices)
        else:
            raise ConfigError(
                f"{segment.folder}: its embeddings take {size / 2**30:,.1f} GiB, {len(devices)} GPU(s) have "
                f"room for {left * len(devices) / 2**30:,.1f} left. Use more of them, search with --device "
                "cpu, or build the index with --vectors ivf-sq8, whose codes are half as large and are "
                "searched on GPUs."
            )
        shards.append(_shards(segment, devices, own) if fits else mapped(segment, own))
        scanned.append(fits)
    return shards, scanned


def whole(segment: Segment) -> Ranges:
    """All rows of a segment."""
    return [(0, segment.entry.moments)]


def others(segment: Segment, ranges: Ranges) -> Ranges:
    """All rows of a segment but some stretches, which are in rising order."""
    edges = [0, *(edge for stretch in ranges for edge in stretch), segment.entry.moments]
    return [(first, last) for first, last in zip(edges[::2], edges[1::2], strict=True) if first < last]


def mapped(segment: Segment, ranges: Ranges) -> list[Shard]:
    """Stretches of a segment as they lie on the disk."""
    return _shards(segment, [torch.device("cpu")], ranges)


def _shards(segment: Segment, devices: Sequence[torch.device], ranges: Ranges) -> list[Shard]:
    """Each stretch of a segment's rows cut evenly over devices."""
    found = []
    for begin, end in ranges:
        edges = np.linspace(begin, end, len(devices) + 1).astype(int).tolist()
        for device, first, last in zip(devices, edges, edges[1:], strict=False):
            hubs = None if segment.hubs is None else segment.hubs[first:last].to(device)
            found.append(Shard(first, segment.embeddings[first:last].to(device), hubs, segment.longest))
    return found


def scan_shards(
    shards: Sequence[Shard], part: Part, queries: Embeddings, score: Score, limit: int, deadline: Deadline
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The best of each shard of a segment: values and the segment's rows (-1 for none); their devices work at
    the same time.
    """

    def best(shard: Shard) -> tuple[np.ndarray, np.ndarray]:
        own = part.within(shard.first, shard.first + len(shard.embeddings))
        keep = None if own.keep is None else torch.from_numpy(own.keep).to(shard.embeddings.device)
        wanted = max(1, min(limit, own.count))
        found = best_of_all(
            shard.embeddings,
            shard.hubs,
            own.runs,
            keep,
            queries,
            score,
            wanted,
            deadline,
            longest=shard.longest,
        )
        values, rows = (x.numpy() for x in found)
        return values, np.where(values > -np.inf, rows + shard.first, -1)

    if len(shards) == 1:
        return [best(shards[0])]
    with ThreadPoolExecutor(len(shards)) as threads:
        return list(threads.map(best, shards))

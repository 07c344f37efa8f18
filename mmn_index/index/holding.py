"""Segments that one process has open, and what is computed where their embeddings are: candidates, cosines,
the bounds of pairs.

An index holds all of its segments; on a cluster each of several processes holds some, or some rows of them.
Rows are numbered through all segments of the manifest, held or not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..scoring import Embeddings, Score, Tangent
from .candidates import Candidates, nearest
from .manifest import Manifest
from .pair_scan import pair_bounds
from .rows import by_segment
from .scan import Deadline
from .segment import Segment
from .selection import Part
from .shards import Ranges, mapped, others, place, scan_shards, whole

_SMALL = 1 << 30  # bytes of embeddings that may stay mapped
_RESIDENT = 3 << 27  # of more, so many are mapped before all are given back
_WINDOW = 1 << 16  # bytes that the kernel maps for a row: pages beside it that it has in memory come along
_AT_ONCE = 1 << 12  # embeddings that are scored together


@dataclass(frozen=True)
class Wanted:
    """Where candidates are looked for, by numbers of segments.

    Attributes:
        scans: rows that are scanned.
        nearest: how many moments may be found in each segment whose candidate index is asked.
    """

    scans: Mapping[int, Part]
    nearest: Mapping[int, int]

    @property
    def total(self) -> int:
        """Moments that may be found."""
        return sum(part.count for part in self.scans.values()) + sum(self.nearest.values())


class Holding:
    """Some segments of one version of an index; safe from several threads.

    Attributes:
        shards: where the rows of each segment are scanned.
        scanned: whether all rows of a segment that are held always are, candidate index or not.

    Args:
        segments: by their number in the manifest.
        devices: where scans run.
        ranges: which rows of each segment lie on these devices; None for all.

    Raises:
        ConfigError: the GPUs have no room for a segment.
    """

    def __init__(
        self,
        segments: Mapping[int, Segment],
        manifest: Manifest,
        devices: Sequence[torch.device],
        ranges: Mapping[int, Ranges] | None = None,
    ) -> None:
        self.segments, self._manifest = segments, manifest
        self.first = np.cumsum([0] + [entry.moments for entry in manifest.segments])  # row of each segment
        held = {n: whole(segment) if ranges is None else ranges.get(n, ()) for n, segment in segments.items()}
        shards, scanned = place(list(segments.values()), devices, list(held.values()))
        # While a cluster moves rows to another process, the one that had them may still be asked.
        self._others = {n: others(segment, held[n]) for n, segment in segments.items()}
        self.shards = dict(zip(segments, shards, strict=True))
        self.scanned = dict(zip(segments, scanned, strict=True))
        self._touched = 0
        self._large = sum(segment.embeddings.nbytes for segment in segments.values()) > _SMALL

    def candidates(
        self,
        queries: Embeddings,
        score: Score,
        planes: Sequence[Tangent],
        limit: int,
        wanted: Wanted,
        deadline: Deadline,
    ) -> Candidates:
        """Moments whose scores may be the best, of what is held; see `MomentIndex.candidates`."""
        total, found, recalls = wanted.total, list[tuple[int, np.ndarray, np.ndarray]](), list[float]()
        for number, part in wanted.scans.items():
            if most := min(limit, part.count):
                self._touch(2 * part.count * self._manifest.width)
                shards = self.shards[number]
                if part.only(self._others[number]).count:
                    shards = [*shards, *mapped(self.segments[number], self._others[number])]
                own = scan_shards(shards, part, queries, score, most, deadline)
                found += [(number, *values) for values in own]
        for number, count in wanted.nearest.items():
            if most := min(limit, count):
                deadline.check(0, total)
                segment = self.segments[number]
                assert segment.vectors is not None
                found.append((number, *nearest(segment, queries, score, planes, most)))
                recalls.append(segment.vectors.about.recall or 0.0)
        found.sort(key=lambda one: one[0])  # in the order of segments
        numbered = [(value, np.where(row >= 0, row + self.first[number], -1)) for number, value, row in found]
        return Candidates.joined(numbered, len(planes), limit, total, min(recalls, default=None))

    def vectors(self, rows: np.ndarray) -> Tensor:
        """Both embeddings of rows of any shape; see `MomentIndex.vectors`."""
        self._touch(rows.size * _WINDOW)
        flat = torch.from_numpy(np.ascontiguousarray(rows).reshape(-1))
        if len(self.first) == 2:
            found = self.segments[0].embeddings.index_select(0, flat)
        else:
            found = torch.empty(len(flat), self._manifest.width, dtype=torch.float16)
            for number, here in by_segment(self.first, flat.numpy()):
                own = flat[torch.from_numpy(here)] - int(self.first[number])
                found[torch.from_numpy(here)] = self.segments[number].embeddings.index_select(0, own)
        return found.view(*rows.shape, self._manifest.width)

    def hubs(self, rows: np.ndarray) -> Tensor:
        """The hub number h of rows of any shape, (*rows.shape,) float32; zeros without a bank."""
        flat = rows.reshape(-1)
        found = torch.zeros(len(flat))
        for number, here in by_segment(self.first, flat):
            hubs = self.segments[number].hubs
            if hubs is not None:
                found[torch.from_numpy(here)] = hubs[torch.from_numpy(flat[here] - self.first[number])]
        return found.view(*rows.shape)

    def cosines(
        self,
        rows: Sequence[np.ndarray],
        queries: Embeddings,
        score: Score,
        precision: torch.dtype,
        deadline: Deadline,
    ) -> list[Tensor]:
        """Both cosines of each query with its own rows, the first with the score's hub correction; (n,) rows
        of every query -> (2, n) each. Of a model with one space the second is 0.
        """
        dim, spaces = self._manifest.joint_dim, self._manifest.spaces
        total, longest = int(self.first[-1]), max(map(len, rows), default=0)
        aside = torch.empty(min(longest, _AT_ONCE), spaces, dim, dtype=precision)
        found = [torch.zeros(2, len(own), dtype=precision) for own in rows]
        # A query's rows stay in the processor's cache.
        for both, own, cosines in zip(
            torch.stack(queries[:spaces], dim=1).to(precision), rows, found, strict=True
        ):
            deadline.check(total, total)
            for first in range(0, len(own), _AT_ONCE):
                part = slice(first, min(first + _AT_ONCE, len(own)))
                moments = aside[: part.stop - first]
                moments.view(-1, spaces * dim).copy_(self.vectors(own[part]))
                if precision == torch.float32:
                    for space in range(spaces):
                        torch.mv(moments[:, space], both[space], out=cosines[space, part])
                else:
                    # Row by row the same order of summation: of equal moments neither may be a rounding
                    # above the other.
                    cosines[:spaces, part] = torch.sum(moments * both, dim=2).T
            cosines[0] = score.corrected(cosines[0], self.hubs(own)) if score.hub else cosines[0]
        return found

    def pair_bounds(
        self,
        queries: Embeddings,
        score: Score,
        parts: Mapping[int, Part],
        deadline: Deadline,
        *,
        in_order: bool,
    ) -> dict[int, np.ndarray]:
        """What no pair of moments of a video is above, (videos of the segment,) float32 each; see
        `MomentIndex.pair_bounds`.
        """
        grid = self._manifest.grid
        return {
            number: pair_bounds(
                self.segments[number], part, grid, queries, score, deadline, in_order=in_order
            )
            for number, part in parts.items()
        }

    def _touch(self, size: int) -> None:
        """Count mapped bytes; give them back before they become many."""
        self._touched += size
        if self._large and self._touched > _RESIDENT:
            self._touched = 0
            for segment in self.segments.values():
                segment.release()

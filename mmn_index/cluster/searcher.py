"""What runs on a node: an actor that has segments open, and searches them for whoever holds the index.

It is given what it needs with every call. Errors of ours come back as values: Ray would wrap them in pages of
traceback. This module is imported before torch and FAISS, which read the number of threads at that time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from .._version import __version__
from ..errors import MmnIndexError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ..index import Candidates, Manifest, Part
    from ..index.holding import Holding
    from ..index.segment import Segment
    from ..index.shards import Ranges
    from ..scoring import Embeddings, Score, Tangent


P = ParamSpec("P")
T = TypeVar("T")
_STRETCHES = 64  # of which it is remembered what was not removed


@dataclass(frozen=True)
class Question:
    """What queries look for, as it is sent to all.

    Attributes:
        contrastive, iou: unit vectors of the queries, (Q, C) float32; as arrays, which are packed faster than
            tensors.
        seconds: that an answer may take; None for no end.
    """

    contrastive: "np.ndarray"
    iou: "np.ndarray"
    score: "Score"
    seconds: float | None

    @classmethod
    def of(cls, queries: "Embeddings", score: "Score", seconds: float | None) -> "Question":
        """Queries as they are searched."""
        contrastive, iou = (x.numpy(force=True) for x in queries)
        return cls(contrastive, iou, score, seconds)

    @property
    def queries(self) -> "Embeddings":
        """They, as tensors."""
        import torch

        from ..scoring import Embeddings

        # What comes out of Ray's memory cannot be written, which torch warns of.
        return Embeddings(*(torch.tensor(x) for x in (self.contrastive, self.iou)))


@dataclass(frozen=True)
class Scan:
    """Rows of a segment that are to be scanned.

    Attributes:
        part: which of them may be found; None for all that were not removed.
    """

    ranges: "Ranges"
    part: "Part | None"


@dataclass(frozen=True)
class _Held:
    """One version of an index, as far as it is held here."""

    holding: "Holding"
    live: "Callable[[int, tuple[tuple[int, int], ...]], Part]"

    def parts(self, scans: Mapping[int, Scan]) -> "dict[int, Part]":
        return {
            number: self.live(number, tuple(scan.ranges)) if scan.part is None else scan.part
            for number, scan in scans.items()
        }


def _told(
    method: "Callable[Concatenate[Searcher, P], T]",
) -> "Callable[Concatenate[Searcher, P], T | MmnIndexError]":
    """A method whose errors come back as values."""

    @wraps(method)
    def caught(self: "Searcher", /, *args: P.args, **kwargs: P.kwargs) -> T | MmnIndexError:
        import torch

        torch.set_num_threads(self.threads)  # each thread of an actor has a number of its own
        try:
            return method(self, *args, **kwargs)
        except MmnIndexError as error:
            return error.with_traceback(None)

    return caught


class Searcher:
    """The parts of indexes that one node searches.

    Args:
        device: where scans run.
        threads: that a scan may take.
    """

    def __init__(self, device: str, threads: int) -> None:
        self.threads = threads
        self._device = device
        self._held: dict[str, _Held] = {}

    @_told
    def ready(self) -> str:
        """The version of mmn-index here."""
        import mmn_index.index  # noqa: F401  # takes seconds, and should be done before the first call
        from mmn_index.device import find_devices

        find_devices(self._device)
        return __version__

    def ping(self) -> None:
        """Answer; who cannot is stopped."""

    @_told
    def hold(
        self,
        key: str,
        root: Path,
        manifest: "Manifest",
        ranges: "Mapping[int, Ranges]",
        indexed: Sequence[int],
    ) -> dict[int, bool]:
        """Open segments of one version of an index, or others than until now.

        Args:
            key: names that version in all other calls.
            ranges: rows that this node scans, by numbers of segments.
            indexed: segments whose candidate index is asked here.

        Returns:
            Whether the rows of each segment are always scanned, candidate index or not.

        Raises:
            MomentIndexError: the index cannot be read here, or is damaged.
            ConfigError: the GPUs have no room.
        """
        from ..device import find_devices
        from ..index.holding import Holding
        from ..index.segment import Segment

        devices, before = find_devices(self._device), self._held.get(key)
        # What was held stays open: until all have what they are given, old pieces may be asked for.
        segments: dict[int, Segment] = dict(before.holding.segments) if before else {}
        for number in {*ranges, *indexed} - {*segments}:
            entry = manifest.segments[number]
            segments[number] = Segment(root / "segments" / entry.id, entry, manifest)
        live = _live(segments)
        if before is not None and devices[0].type != "cpu":  # which have no room for both
            self._held[key] = _Held(Holding(segments, manifest, find_devices("cpu")), live)
            del before
        holding = Holding(segments, manifest, devices, ranges)
        self._held[key] = _Held(holding, live)
        return {number: holding.scanned[number] for number in {*ranges, *indexed}}

    def forget(self, key: str) -> None:
        """Close what `hold` opened."""
        self._held.pop(key, None)

    @_told
    def candidates(
        self,
        key: str,
        question: Question,
        planes: "Sequence[Tangent]",
        limit: int,
        scans: Mapping[int, Scan],
        nearest: Mapping[int, int],
    ) -> "Candidates":
        """Moments whose scores may be the best, of those that this node searches."""
        from ..index.holding import Wanted
        from ..index.scan import Deadline

        held = self._held[key]
        wanted = Wanted(held.parts(scans), nearest)
        deadline = Deadline(question.seconds)
        return held.holding.candidates(question.queries, question.score, planes, limit, wanted, deadline)

    @_told
    def vectors(self, key: str, rows: "np.ndarray") -> "np.ndarray":
        """Both embeddings of rows (n,), (n, spaces * C) float16."""
        return self._held[key].holding.vectors(rows).numpy()

    @_told
    def hubs(self, key: str, rows: "np.ndarray") -> "np.ndarray":
        """The hub number of rows (n,), (n,) float32."""
        return self._held[key].holding.hubs(rows).numpy()

    @_told
    def cosines(
        self,
        key: str,
        question: Question,
        rows: "np.ndarray",
        counts: "np.ndarray",
        precision: "torch.dtype",
    ) -> "np.ndarray":
        """Both cosines of each query with its own rows, (2, n).

        Args:
            rows: (n,), those of the queries one after another.
            counts: (Q,) how many each of them has.
        """
        import numpy as np
        import torch

        from ..index.scan import Deadline

        own = np.split(rows, counts.cumsum()[:-1])
        found = self._held[key].holding.cosines(
            own, question.queries, question.score, precision, Deadline(question.seconds)
        )
        return torch.cat(found, dim=1).numpy()

    @_told
    def pair_bounds(
        self, key: str, question: Question, scans: Mapping[int, Scan], in_order: bool
    ) -> "dict[int, tuple[np.ndarray, np.ndarray]]":
        """What no pair of moments of a video is above, by segments: rows of videos.parquet, and bounds."""
        import numpy as np

        from ..index.scan import Deadline

        held = self._held[key]
        found = held.holding.pair_bounds(
            question.queries, question.score, held.parts(scans), Deadline(question.seconds), in_order=in_order
        )
        own = {number: np.flatnonzero(bounds > -np.inf) for number, bounds in found.items()}
        return {number: (videos, found[number][videos]) for number, videos in own.items()}


def _live(segments: "Mapping[int, Segment]") -> "Callable[[int, tuple[tuple[int, int], ...]], Part]":
    """What of a segment's stretches was not removed, remembered."""
    from ..index.selection import all_live

    @cache
    def whole(number: int) -> "Part":
        return all_live(segments[number])

    @lru_cache(maxsize=_STRETCHES)
    def live(number: int, ranges: tuple[tuple[int, int], ...]) -> "Part":
        return whole(number).only(ranges)

    return live

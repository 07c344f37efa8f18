"""Which candidate index a segment gets, why, and how well it finds.

Exact where it is quick enough: up to SCANNED moments a scan takes some tens of milliseconds on two cores and
needs nothing beside the embeddings; who says how long a search may take has it measured instead. Beyond, an
inverted file (FAISS IVF) finds candidates in a hundredth of the time. Of its codes, PQ keeps two bits a
dimension and is the quickest (fast-scan), RaBitQ keeps one bit, SQ8 a byte and ranks candidates most truly
but reads the most. Whichever it is, candidates are scored from the float16 embeddings, so the choice decides
about speed, memory and how many of the best are found, never about a score. benchmarks/README.md has the
figures.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from mmn_index.device import room as free
from mmn_index.errors import ConfigError
from mmn_index.index import CandidateAbout, Manifest, MomentIndex, SegmentEntry
from mmn_index.index.scan import upper_bounds
from mmn_index.index.vectors import HUB_WIDTH, bytes_a_moment, check_factory, lists_of
from mmn_index.model import unit
from mmn_index.scoring import Embeddings, Score
from mmn_index.search import Answer, SearchOptions, search_embeddings

SCANNED = 200_000  # moments of a segment that is scanned
CODES = {"ivf-pq": "PQ{half}x4fs", "ivf-rabitq": "RaBitQfs", "ivf-sq8": "SQ8"}
RECALL = 0.99  # of the top 10 after NMS, that nprobe is raised for
_QUERIES = 256  # that recall is measured with
_ALIKE, _COSINE = 10, 0.6  # of how many moments a measuring query is made, and its cosine with their mean
_TOP = 10
_MANY = 100  # videos, of which ten that hold something alike are soon found
_BLOCK = 1 << 16
_DEPTHS, _LEAST_LISTS, _GAIN = (256, 384, 512, 640, 768, 1024, 1536, 2048, 4096), 4, 0.002
# What a candidate costs, read and scored, and what a round costs besides, in codes that are looked at.
_CANDIDATE, _ROUND = 50, 100_000


@dataclass(frozen=True)
class Wish:
    """What a user wants of the candidate index.

    Raises:
        ConfigError: no such index.
    """

    vectors: str = "auto"  # auto, exact, one of CODES, or a FAISS factory string that begins with IVF
    max_bytes_per_moment: float | None = None  # of the whole index: embeddings and candidate index
    # milliseconds of one search, with `auto`: what is scanned within them is scanned
    max_latency: float | None = None

    def __post_init__(self) -> None:
        if self.max_bytes_per_moment is not None and not self.max_bytes_per_moment > 0:
            raise ConfigError(
                f"--max-bytes-per-moment {self.max_bytes_per_moment:g}: expected a number of bytes, more "
                "than 0."
            )
        if self.max_latency is not None and not self.max_latency > 0:
            raise ConfigError(f"--max-latency {self.max_latency:g}: expected milliseconds, more than 0.")
        if self.max_latency is not None and self.vectors != "auto":
            raise ConfigError(
                f"--max-latency chooses whether to scan, --vectors {self.vectors} has chosen: leave out one "
                "of them."
            )
        if self.vectors not in ("auto", "exact", *CODES):
            check_factory(self.vectors)


def choose(
    moments: int, width: int, wish: Wish, *, hubs: bool = False, devices: Sequence[torch.device] = ()
) -> tuple[str | None, str]:
    """A FAISS factory string (None: scan) for a segment, and the reason in words.

    Args:
        width: numbers of an embedding: 2 C, or C of a model with one space.
        hubs: whether the index has a bank, so that h is a part of every vector.
        devices: that the index is built on. What GPUs have no room to scan gets codes that FAISS searches
            there.

    Raises:
        ConfigError: nothing fits into the bytes a moment.
    """
    stored = width
    width, kept = stored + HUB_WIDTH * hubs, 2 * stored + 4 * hubs  # float16 embeddings, float32 h
    room = None if wish.max_bytes_per_moment is None else wish.max_bytes_per_moment - kept
    if room is not None and room < 0:
        raise ConfigError(
            f"--max-bytes-per-moment {wish.max_bytes_per_moment:g}: the embeddings alone take {kept} bytes "
            f"a moment ({stored} float16 numbers{' and h' if hubs else ''}), which exact scores "
            "need. Allow more, or train with a smaller model.joint_dim."
        )
    if wish.vectors == "exact":
        return None, "scanned exactly, as asked for"
    if wish.max_latency is not None:
        if (needed := scan_milliseconds(moments, stored)) <= wish.max_latency:
            allowed = f"{wish.max_latency:g} are allowed"
            return None, f"scanned exactly: a scan takes about {needed:,.1f} ms here, {allowed}"
    elif wish.vectors == "auto" and moments <= SCANNED:
        return None, f"scanned exactly: up to {SCANNED:,} moments that is quick enough"
    lists = 2 ** round(np.log2(2 * moments**0.5))
    codes = {name: f"IVF{lists},{code.format(half=width // 2)}" for name, code in CODES.items()}
    if wish.vectors != "auto":
        return _asked_for(codes.get(wish.vectors, wish.vectors), moments, width, kept, wish)
    full = bool(devices) and devices[0].type != "cpu" and moments * kept > len(devices) * free(devices)
    for name in ("ivf-sq8",) if full else ("ivf-pq", "ivf-rabitq"):
        needed = bytes_a_moment(codes[name], width)
        if room is None or needed <= room:
            why = (
                "what GPUs search that have no room for the embeddings" if full else "the quickest that fits"
            )
            return codes[name], (
                f"{lists} lists, about twice the square root of {moments:,} moments; {name}, {needed:.0f} "
                f"bytes a moment: {why}"
            )
    return None, f"scanned exactly: no candidate index fits into {wish.max_bytes_per_moment:g} bytes a moment"


def _asked_for(factory: str, moments: int, width: int, kept: int, wish: Wish) -> tuple[str, str]:
    """The candidate index that was named, if it fits.

    Args:
        width: of a vector.
        kept: bytes per moment of its embeddings.
    """
    if (wanted := lists_of(factory)) > moments:
        raise ConfigError(
            f"--vectors {wish.vectors}: {wanted:,} lists are more than the {moments:,} moments. "
            "Ask for fewer."
        )
    most = wish.max_bytes_per_moment
    if most is not None and (needed := bytes_a_moment(factory, width)) > most - kept:
        raise ConfigError(
            f"--vectors {wish.vectors}: takes {needed:.0f} bytes a moment beside the {kept} of the "
            f"embeddings, --max-bytes-per-moment {most:g} leaves {most - kept:g}."
        )
    return factory, f"{factory}, as asked for"


def scan_milliseconds(moments: int, width: int) -> float:
    """What an exact scan for one query takes on this machine, by one of up to _BLOCK random moments in
    memory.
    """
    rows = min(moments, _BLOCK)
    embeddings = torch.randn(rows, width).half()
    query = Embeddings(*torch.randn(1, width).tensor_split([(width + 1) // 2], dim=1))
    times = []
    for _ in range(7):
        started = time.perf_counter()
        upper_bounds(embeddings, None, query, Score())
        times.append(time.perf_counter() - started)
    return 1000 * float(np.median(times)) * moments / rows


def tune(root: Path, manifest: Manifest, entry: SegmentEntry) -> SegmentEntry:
    """As `tune_together`, of one segment."""
    return tune_together(root, manifest, [entry])[0]


def tune_together(root: Path, manifest: Manifest, entries: Sequence[SegmentEntry]) -> list[SegmentEntry]:
    """Choose how many lists a query visits, how many candidates it asks for, and where its first tangent
    plane touches the score: what costs the least and finds RECALL of the exact top 10 or, where nothing does,
    what finds the most.

    Costs are counted, not measured, so that an index does not depend on what else the machine does. The
    recall that is recorded is that of other queries than the ones it was chosen by.

    Args:
        entries: segments that share one candidate index, or are all scanned.
    """
    if not entries or entries[0].candidates is None:
        return list(entries)
    index = MomentIndex.of(root, replace(manifest, segments=tuple(entries)))
    queries = measuring_queries(index)
    exact = _answers(index, queries, SearchOptions(k=_TOP, exact=True))
    truth, parts = _rows(exact), [part.vectors for part in index.segments if part.vectors is not None]
    noise = f"{len(truth)} means of {_ALIKE} moments alike, at a cosine of {_COSINE} in both spaces"
    start = replace(entries[0].candidates, point=_last_point(index, queries, exact), noise=noise)

    def use(about: CandidateAbout) -> None:
        for vectors in parts:
            vectors.about = about

    lists = parts[0].lists
    a_list = sum(entry.moments for entry in entries) / lists
    best, most, cheapest = start, -1.0, float("inf")
    for depth in _DEPTHS:
        nprobe, before = _LEAST_LISTS, -1.0
        while _ROUND + nprobe * a_list + _CANDIDATE * depth < cheapest:  # or one round costs more already
            about = replace(start, nprobe=min(nprobe, lists), depth=depth)
            use(about)
            answers = _answers(index, queries, SearchOptions(k=_TOP))
            recall, cost = _share(truth, _rows(answers)), _cost(answers, nprobe * a_list)
            if recall >= RECALL and cost < cheapest:
                best, most, cheapest = about, recall, cost
            elif cheapest == float("inf") and recall > most:
                best, most = about, recall
            if recall >= RECALL or nprobe >= lists or recall < before + _GAIN:
                break
            nprobe, before = 2 * nprobe, recall
    use(best)
    found = replace(best, recall=measured_recall(index, seed=1))
    return [replace(entry, candidates=found) for entry in entries]


def _cost(answers: Sequence[Answer], codes: float) -> float:
    """What a query costs on average, in codes that are looked at."""
    each = [
        _CANDIDATE * answer.moments  # all were scanned, because too little was found
        if answer.exact
        else answer.rounds * (_ROUND + codes + _CANDIDATE * answer.candidates)
        for answer in answers
    ]
    return sum(each) / max(1, len(each))


def _last_point(
    index: MomentIndex, queries: Embeddings, answers: Sequence[Answer]
) -> tuple[float, float] | None:
    """Both cosines of the last hits, on average, the first less its hub correction: a tangent plane that
    touches the score there lies closest to it where a search ends.
    """
    ends = [(number, answer.hits[-1].row) for number, answer in enumerate(answers) if answer.hits]
    if not ends:
        return None
    numbers, rows = (np.array(part) for part in zip(*ends, strict=True))
    moments = index.embeddings(rows)
    c, i = ((x[numbers] * y.float()).sum(dim=1) for x, y in zip(queries, moments, strict=True))
    c = index.manifest.score.corrected(c, index.hubs(rows))
    return round(float(c.mean()), 3), round(float(i.mean()), 3)


def measured_recall(index: MomentIndex, *, seed: int = 2) -> float:
    """Recall@10 after NMS of an index as it is searched, against the exact scan, with queries of a seed of
    their own.
    """
    queries = measuring_queries(index, seed)
    truth, found = (
        _rows(_answers(index, queries, SearchOptions(k=_TOP, exact=exact))) for exact in (True, False)
    )
    return _share(truth, found)


def measuring_queries(index: MomentIndex, seed: int = 0) -> Embeddings:
    """Queries like sentences: what moments of several videos have in common, seen from off the manifold of
    the moments.

    Each is the mean of a random moment and the best-scored ones of _ALIKE - 1 other videos for it, turned
    away by noise in either space until its cosine with that mean is _COSINE. (A single moment would be too
    easy a query: its own video holds the answer.) Of few videos, most hold nothing like it: there the moments
    may be of any video.
    """
    random = np.random.default_rng(seed)
    videos = random.choice(np.flatnonzero(index.live), _QUERIES).tolist()
    own = [index.rows_of(video) for video in videos]
    rows = np.array([rows[random.integers(len(rows))] for rows in own])
    moments = unit(Embeddings(*(part.float() for part in index.embeddings(rows))))
    per_video = 1 if index.live.sum() >= _MANY else None
    alike = _answers(index, moments, SearchOptions(k=_ALIKE, per_video=per_video, exact=True))
    turned = []
    for space in (0, 1):
        mean = torch.stack(
            [
                index.embeddings(np.array([hit.row for hit in a.hits]))[space].float().mean(dim=0)
                for a in alike
            ]
        )
        mean = torch.nn.functional.normalize(mean, dim=1)
        noise = torch.from_numpy(random.normal(size=mean.shape)).float()
        noise = torch.nn.functional.normalize(noise - (noise * mean).sum(dim=1, keepdim=True) * mean, dim=1)
        turned.append(_COSINE * mean + (1 - _COSINE**2) ** 0.5 * noise)
    return Embeddings(*turned)


def _rows(answers: Sequence[Answer]) -> list[set[int]]:
    return [{hit.row for hit in answer.hits} for answer in answers]


def _answers(index: MomentIndex, queries: Embeddings, options: SearchOptions) -> list[Answer]:
    return search_embeddings(index, queries, index.manifest.score, options, [""] * len(queries.iou))


def _share(truth: list[set[int]], found: list[set[int]]) -> float:
    return sum(len(a & b) for a, b in zip(truth, found, strict=True)) / max(1, sum(len(a) for a in truth))

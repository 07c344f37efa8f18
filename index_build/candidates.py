"""Which candidate index a segment gets, why, and how well it finds.

Exact where it is quick enough: up to SCANNED moments a scan takes some tens of milliseconds on two cores and needs nothing beside
the embeddings. Beyond, an inverted file (FAISS IVF) finds candidates in a hundredth of the time. RaBitQ keeps one bit a dimension
(~90 bytes a moment at 512 dimensions) and is the quickest for batches; SQ8 keeps a byte a dimension and ranks candidates more
truly; PQ is in between. Whichever it is, candidates are scored exactly from the float16 embeddings, so the choice decides about
speed, memory and how many of the best are found, never about a score.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from mmn_index.errors import ConfigError
from mmn_index.index import CandidateAbout, Manifest, MomentIndex, SegmentEntry
from mmn_index.index.vectors import bytes_a_moment, check_factory
from mmn_index.scoring import Embeddings
from mmn_index.search import SearchOptions, search_embeddings

SCANNED = 200_000  # moments of a segment that is scanned
CODES = {"ivf-rabitq": "RaBitQfs", "ivf-sq8": "SQ8", "ivf-pq": "PQ{half}x4fs"}
RECALL = 0.99  # of the top 10 after NMS, that nprobe is raised for
_QUERIES = 128  # that recall is measured with
_COSINE = 0.6  # of a measuring query with the moment that it is made of
_TOP = 10


@dataclass(frozen=True)
class Wish:
    """What a user wants of the candidate index.

    Raises:
        ConfigError: no such index.
    """

    vectors: str = "auto"  # auto, exact, one of CODES, or a FAISS factory string that begins with IVF
    max_bytes_per_moment: float | None = None  # of the whole index: embeddings and candidate index

    def __post_init__(self) -> None:
        if self.vectors not in ("auto", "exact", *CODES):
            check_factory(self.vectors)


def choose(moments: int, joint_dim: int, wish: Wish) -> tuple[str | None, str]:
    """A FAISS factory string (None: scan) for a segment, and the reason in words.

    Raises:
        ConfigError: nothing fits into the bytes a moment.
    """
    width, kept = 2 * joint_dim, 4 * joint_dim  # float16
    room = None if wish.max_bytes_per_moment is None else wish.max_bytes_per_moment - kept
    if room is not None and room < 0:
        raise ConfigError(
            f"--max-bytes-per-moment {wish.max_bytes_per_moment:g}: the embeddings alone take {kept} bytes a moment "
            f"({width} float16 numbers), which exact scores need. Allow more, or train with a smaller model.joint_dim."
        )
    if wish.vectors == "exact":
        return None, "scanned exactly, as asked for"
    if wish.vectors == "auto" and moments <= SCANNED:
        return None, f"scanned exactly: up to {SCANNED:,} moments that is quick enough"
    lists = 2 ** round(np.log2(4 * moments**0.5))
    codes = {name: f"IVF{lists},{code.format(half=width // 2)}" for name, code in CODES.items()}
    if wish.vectors in codes:
        return codes[
            wish.vectors
        ], f"{lists} lists, about 4 times the square root of {moments:,} moments; {wish.vectors} as asked for"
    if wish.vectors != "auto":
        return wish.vectors, "as asked for"
    for name in ("ivf-rabitq", "ivf-pq"):
        needed = bytes_a_moment(codes[name], width)
        if room is None or needed <= room:
            return codes[name], (
                f"{lists} lists, about 4 times the square root of {moments:,} moments; {name}, {needed:.0f} bytes a moment, the "
                "quickest at equal recall"
            )
    return None, f"scanned exactly: no candidate index fits into {wish.max_bytes_per_moment:g} bytes a moment"


def tune(root: Path, manifest: Manifest, entry: SegmentEntry) -> SegmentEntry:
    """Raise nprobe until the candidate index finds RECALL of the exact top 10, and record what it finds."""
    if entry.candidates is None:
        return entry
    index = MomentIndex.of(root, replace(manifest, segments=(entry,)))
    queries = measuring_queries(index)
    truth = _top(index, queries, exact=True)
    nprobe, lists = 4, int(entry.candidates.factory[3:].split(",")[0].split("_")[0])
    while True:
        about = replace(entry.candidates, nprobe=min(nprobe, lists))
        recall = _recall(index, queries, truth, about)
        if recall >= RECALL or nprobe >= lists:
            noise = f"{len(truth)} moments seen at a cosine of {_COSINE} in both spaces"
            return replace(entry, candidates=replace(about, recall=recall, noise=noise))
        nprobe *= 2


def measured_recall(index: MomentIndex, *, seed: int = 1) -> float:
    """Recall@10 after NMS of an index as it is searched, against the exact scan, with queries of a seed of their own."""
    queries = measuring_queries(index, seed)
    return _share(_top(index, queries, exact=True), _top(index, queries, exact=False))


def measuring_queries(index: MomentIndex, seed: int = 0) -> Embeddings:
    """Queries off the manifold of the moments, as text is: random moments, each space turned away to a cosine of _COSINE."""
    random = np.random.default_rng(seed)
    live = np.flatnonzero(index.live)
    rows = random.choice(live, _QUERIES) * len(index.manifest.grid) + random.integers(len(index.manifest.grid), size=_QUERIES)
    turned = []
    for part in index.embeddings(rows):
        moment = torch.nn.functional.normalize(part.float(), dim=1)
        noise = torch.from_numpy(random.normal(size=moment.shape)).float()
        noise = torch.nn.functional.normalize(noise - (noise * moment).sum(dim=1, keepdim=True) * moment, dim=1)
        turned.append(_COSINE * moment + (1 - _COSINE**2) ** 0.5 * noise)
    return Embeddings(*turned)


def _recall(index: MomentIndex, queries: Embeddings, truth: list[set[int]], about: CandidateAbout) -> float:
    for segment in index.segments:
        if segment.vectors:
            segment.vectors.about = about
    return _share(truth, _top(index, queries, exact=False))


def _top(index: MomentIndex, queries: Embeddings, *, exact: bool) -> list[set[int]]:
    options = SearchOptions(k=_TOP, exact=exact)
    answers = search_embeddings(index, queries, index.manifest.score, options, [""] * len(queries.iou))
    return [{hit.row for hit in answer.hits} for answer in answers]


def _share(truth: list[set[int]], found: list[set[int]]) -> float:
    return sum(len(a & b) for a, b in zip(truth, found, strict=True)) / max(1, sum(len(a) for a in truth))

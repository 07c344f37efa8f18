"""MVMR, massive videos moment retrieval (arXiv 2309.16701): every sentence is searched in a pool of videos of
its own, and may have right moments in several of them.

    {video: {..., "pos_moments": [[[video, text, [start, end]], ...], ...], "retrieval_pool": [[video, ...],
    ...]}}

is an annotation file (annotations.py) with two more lists, one entry a sentence. Times are in the unit of the
file: in that of TACoS they are frames, as its timestamps are, and are divided by the frame rate of the
moment's own video. Ids may lack the suffix that an index has (TACoS: s30-d52 is s30-d52.avi). As in the
authors' evaluation, sentences whose pool is smaller than the others' are left out, and NMS acts within each
video. (There the further right moments of TACoS stay in frames beside predictions in seconds, so that they
hardly ever count; here they do.)
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import AnnotationError
from ..index import Restriction
from ..search import SearchOptions
from .annotation_forms import read_json
from .annotations import read_annotations
from .corpus import NO_NMS, Lists, Outcome, Rank, Report, batches, outcomes, silent
from .queries import Corpus, Queries, count_right, queries_of
from .recall import Ranked, Right, chances

DEPTHS = (1, 5, 10, 20, 50)  # the k of R@k
IOUS = (0.3, 0.5, 0.7)


@dataclass(frozen=True)
class Pools:
    """The sentences of an MVMR file that have a pool of full size."""

    queries: Queries
    videos: tuple[tuple[str, ...], ...]  # each sentence's pool: ids in the corpus
    right: tuple[Right, ...]  # its own moment and the further ones
    left_out: int  # sentences with a smaller pool

    @property
    def size(self) -> int:
        """Videos of every pool."""
        return len(self.videos[0])


def read_pools(path: str | os.PathLike[str], corpus: Corpus) -> Pools:
    """Read an MVMR file.

    Raises:
        AnnotationError: the file is not of this form, or the corpus lacks one of its videos.
    """
    split = read_annotations(path)
    content = read_json(Path(path))
    names = _names(corpus)
    if missing := [video_id for video_id in content if video_id not in names]:
        raise AnnotationError(
            f"{path}: {len(missing)} of its {len(content)} videos are not among the {len(corpus.ids)} that "
            f"are searched, e.g. '{missing[0]}'."
        )
    durations = {video_id: corpus.durations[corpus.numbers[names[video_id]]] for video_id in content}
    pools: list[tuple[str, ...]] = []
    right: list[Right] = []
    first = 0  # position of a video's first sentence in the file
    by_id = {video.video_id: video for video in split.videos}
    for video_id, entry in content.items():
        if video_id in by_id:
            for position, moment in zip(by_id[video_id].positions, by_id[video_id].moments, strict=True):
                try:
                    pool, others = _sentence(entry, position - first, video_id, content, durations)
                except (KeyError, IndexError, TypeError, ValueError) as error:
                    raise AnnotationError(
                        f"{path}: video '{video_id}', sentence {position - first}: {error}. Expected one "
                        "entry a sentence in pos_moments, [[video, text, [start, end]], ...], and in "
                        "retrieval_pool, [video, ...]."
                    ) from error
                pools.append(tuple(names[name] for name in pool))
                videos = [corpus.numbers[names[name]] for name in (video_id, *(other for other, _ in others))]
                spans = torch.cat([moment[None], torch.tensor([span for _, span in others]).reshape(-1, 2)])
                right.append(Right(torch.tensor(videos), spans))
        first += len(entry["sentences"])
    size = max(len(pool) for pool in pools)
    full = [number for number, pool in enumerate(pools) if len(pool) == size]
    queries = queries_of(
        replace(split, videos=tuple(replace(v, video_id=names[v.video_id]) for v in split.videos)), corpus
    )
    return Pools(
        queries.part(full),
        tuple(pools[n] for n in full),
        tuple(right[n] for n in full),
        len(pools) - len(full),
    )


def evaluate_pools(
    pools: Pools, corpus: Corpus, rank: Rank, *, nms: float = 0.5, report: Report = silent
) -> list[Outcome]:
    """Search every sentence in its own pool, without NMS and with it."""
    totals = torch.tensor([sum(corpus.count(corpus.numbers[name]) for name in pool) for pool in pools.videos])
    alike: dict[frozenset[str], list[int]] = {}
    for number, pool in enumerate(pools.videos):
        alike.setdefault(frozenset(pool), []).append(number)
    counts: dict[float | None, Tensor] = {m: count_right(pools.right, corpus, m) for m in IOUS}
    found: list[Outcome] = []
    for threshold in dict.fromkeys([NO_NMS, nms]):
        ranked: dict[int, Ranked] = {}
        for videos, numbers in alike.items():
            options = SearchOptions(
                k=DEPTHS[-1], nms=threshold, restriction=Restriction(videos=tuple(videos))
            )
            for batch in batches(numbers):
                ranked.update(zip(batch, rank(batch, options), strict=True))
                report(len(ranked), len(pools.videos), what=f"pools, NMS {threshold:g}")
        lists = Lists("MVMR", threshold, [ranked[number] for number in range(len(pools.videos))])
        found += outcomes(
            lists,
            "pool",
            pools.right,
            IOUS,
            DEPTHS,
            lambda m, k: chances(counts[m], totals, k),
        )
    return found


def _names(corpus: Corpus) -> dict[str, str]:
    """Ids in the corpus by what a file may call them: the id, or the id without a suffix that no other video
    shares.
    """
    stems: dict[str, list[str]] = {}
    for video_id in corpus.ids.values():
        stems.setdefault(video_id.rpartition(".")[0] or video_id, []).append(video_id)
    return {
        **{stem: ids[0] for stem, ids in stems.items() if len(ids) == 1},
        **{name: name for name in corpus.ids.values()},
    }


def _sentence(
    entry: Mapping[str, Any],
    place: int,
    video_id: str,
    content: Mapping[str, Any],
    durations: Mapping[str, float],
) -> tuple[list[str], list[tuple[str, tuple[float, float]]]]:
    """The pool of one sentence and its further right moments in seconds, checked, and cut to their videos as
    all moments are.
    """
    for key in ("pos_moments", "retrieval_pool"):
        if len(entry[key]) != len(entry["sentences"]):
            raise ValueError(f"{len(entry[key])} {key}, {len(entry['sentences'])} sentences")
    pool = list(entry["retrieval_pool"][place])
    if unknown := [name for name in pool if name not in content]:
        raise ValueError(f"its pool has a video '{unknown[0]}' that the file does not describe")
    if video_id not in pool or len(set(pool)) != len(pool):
        raise ValueError("its pool lacks its own video, or has one twice")
    others = []
    for name, _, (start, end) in entry["pos_moments"][place]:
        if name not in pool:
            raise ValueError(f"a right moment lies in '{name}', which is not in its pool")
        scale = float(content[name]["fps"]) if "duration" not in content[name] else 1.0
        span = max(float(start) / scale, 0.0), min(float(end) / scale, durations[name])
        if not (all(map(math.isfinite, (float(start), float(end)))) and span[0] < span[1]):
            raise ValueError(f"a right moment of '{name}' lasts from {start} to {end}")
        others.append((name, span))
    return pool, others

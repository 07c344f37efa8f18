"""Bring a database to what an index holds: only what changed is sent, and readers see it all at once.

Segments never change, so a segment that was sent stays as it is, and a video that was removed is deleted.
What is new is sent where no reader looks. Then the search is measured against the index itself, the new
version is published in one step, and what nobody needs any more is deleted. A push that was killed is
continued by the next one, from the last moments that arrived.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from mmn_index.databases.contract import (
    Chosen,
    Database,
    Published,
    PushedSegment,
    Reader,
    Rows,
    Writer,
)
from mmn_index.databases.search import search_reader
from mmn_index.errors import DatabaseError, MomentIndexError
from mmn_index.index import MomentIndex
from mmn_index.index.segment import Segment
from mmn_index.scoring import Embeddings
from mmn_index.search import SearchOptions, search_embeddings

from .candidates import RECALL, measuring_queries
from .lists import nearest_lists, train_lists
from .push_plan import make_plan

BATCH = 1 << 13  # moments that are sent together
_DEPTHS = (512, 1024, 2048, 4096)
# Moments that a search looks at, at least: it costs some milliseconds, and where there are few videos the
# queries that it is tuned with are easier than sentences.
_LEAST = 1 << 14
_TUNING, _MEASURING = 64, 256  # queries that the search is tuned with, and measured with
_TOP = 10
Report = Callable[..., None]


@dataclass(frozen=True)
class Pushed:
    """What a push did."""

    published: Published
    sent: int  # moments
    segments: int  # that were sent, whole or in part
    removed: int  # videos that were deleted
    unchanged: bool
    left_out: tuple[str, ...]  # columns that no database stores


def push(index: MomentIndex, database: Database, report: Report, *, overwrite: bool = False) -> Pushed:
    """Bring a database to what an index holds.

    Raises:
        DatabaseError: it cannot be reached, holds another index, or another push is under way.
        MomentIndexError: embeddings are no numbers.
    """
    with database.pushing(anew=overwrite) as writer:
        before = writer.published
        plan = make_plan(index, before, writer.staging, overwrite=overwrite)
        goal = plan.goal
        if before is not None and _same(before, goal):
            writer.sweep(before)
            return Pushed(before, 0, 0, 0, True, _left_out(index, goal))
        writer.discard(plan.fresh, goal.generation if plan.fresh_lists else None)
        writer.stage(goal)
        centres = _lists(index, writer, goal)
        goal = replace(goal, lists=0 if centres is None else len(centres))
        sent, segments = _send(index, writer, goal, centres, report)
        goal = replace(goal, swept=False)
        if goal.lists or not database.proves:
            goal = _tuned(index, writer.reader(goal), report)
        removed = _newly_removed(before, goal)
        writer.publish(goal)
        writer.sweep(goal)
        goal = replace(goal, swept=True)
        writer.publish(goal)
        return Pushed(goal, sent, segments, removed, False, _left_out(index, goal))


def _same(before: Published, goal: Published) -> bool:
    """Whether what is published is what would be."""
    measured = {name: getattr(before, name) for name in ("probes", "depth", "recall", "swept", "origin")}
    return before == replace(goal, **measured) and before.swept


def _newly_removed(before: Published | None, goal: Published) -> int:
    known = {} if before is None else {one.key: {*one.removed} for one in before.segments}
    return sum(len({*one.removed} - known[one.key]) for one in goal.segments if one.key in known)


def _left_out(index: MomentIndex, goal: Published) -> tuple[str, ...]:
    stored = {column.name for column in goal.columns}
    return tuple(name for name in index.columns.names if name not in stored)


def _lists(index: MomentIndex, writer: Writer, goal: Published) -> np.ndarray | None:
    if not goal.lists:
        return None
    centres = writer.lists(goal.generation)
    if centres is None:
        centres = train_lists(index, goal.lists)
        writer.write_lists(goal.generation, centres)
        centres = writer.lists(goal.generation)  # as they are stored
    return centres


def _send(
    index: MomentIndex, writer: Writer, goal: Published, centres: np.ndarray | None, report: Report
) -> tuple[int, int]:
    """Send all segments that are not published: how many moments and segments that were."""
    published = set() if writer.published is None else set(writer.published.keys)
    new = [
        (segment, pushed)
        for segment, pushed in zip(index.segments, goal.segments, strict=True)
        if pushed.key not in published
    ]
    total = sum(segment.entry.moments for segment, _ in new)
    sent = done = segments = 0
    for segment, pushed in new:
        order, lists = _order(segment, pushed, centres)
        there = writer.begin(pushed.key, segment.table, pushed.skipped, goal.columns)
        segments += there < len(order)
        for rows in _batches(segment, order[there:], lists):
            writer.add(pushed.key, rows)
            sent, there = sent + len(rows.row), there + len(rows.row)
            report(done + there, total)
            segment.release()
        if (arrived := writer.begin(pushed.key, segment.table, pushed.skipped, goal.columns)) != len(order):
            raise DatabaseError(
                f"of segment {pushed.id} {arrived:,} moments arrived, expected {len(order):,}. Does "
                "another push write to the same collection? Push again, with --overwrite if that does not "
                "help."
            )
        writer.finish(pushed.key)
        done += segment.entry.moments
    return sent, segments


def _order(
    segment: Segment, pushed: PushedSegment, centres: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """The rows that are sent, in this order, and the list of every row of the segment: those of one list lie
    together.
    """
    videos = np.ones(len(segment.live), dtype=bool)
    videos[list(pushed.skipped)] = False
    rows = np.flatnonzero(segment.moments_of(videos))
    if centres is None:
        return rows, None
    of = torch.from_numpy(centres[:, :-1])
    lists = np.empty(segment.entry.moments, dtype=np.int32)
    for first in range(0, len(lists), BATCH):
        lists[first : first + BATCH] = nearest_lists(segment.embeddings[first : first + BATCH], of)
    segment.release()
    return rows[np.argsort(lists[rows], kind="stable")], lists


def _batches(segment: Segment, order: np.ndarray, lists: np.ndarray | None) -> Iterator[Rows]:
    for first in range(0, len(order), BATCH):
        row = order[first : first + BATCH]
        vectors = segment.embeddings[torch.from_numpy(row)].numpy()
        if not np.isfinite(vectors).all():
            raise MomentIndexError(
                f"{segment.folder}: has embeddings that are no numbers. `mmn-index verify` says what is "
                "damaged; build the index again."
            )
        window = row // segment.per_window
        yield Rows(
            row=row,
            video=segment.window_videos[window],
            spans=segment.spans(row),
            per_window=segment.per_window,
            vectors=vectors,
            hubs=np.zeros(len(row), np.float32)
            if segment.hubs is None
            else segment.hubs[torch.from_numpy(row)].numpy(),
            tubes=None if segment.tubes is None else segment.tubes.numbers[window],
            lists=None if lists is None else lists[row],
        )


def _tuned(index: MomentIndex, reader: Reader, report: Report) -> Published:
    """With as many lists and candidates as it takes to find RECALL of the exact top 10, and the share that it
    finds of that of other queries.
    """
    goal = reader.published
    if not index.num_moments:
        return goal
    queries, truth = _truth(index, 0, _TUNING)
    best, most = goal, -1.0
    for depth in _DEPTHS:
        probes = min(-(-_LEAST * goal.lists // goal.moments), goal.lists)
        while True:
            report(probes, max(goal.lists, 1), what="measuring")
            reader.published = replace(goal, probes=probes, depth=depth)
            recall = _recall(reader, queries, truth)
            if recall > most:
                best, most = reader.published, recall
            if most >= RECALL or probes >= goal.lists:
                break
            probes = min(2 * probes, goal.lists)
        if most >= RECALL or not goal.lists:
            break
    reader.published = best
    return replace(best, recall=_recall(reader, *_truth(index, 1, _MEASURING)))


def _truth(index: MomentIndex, seed: int, count: int) -> tuple[Embeddings, list[set[int]]]:
    queries = Embeddings(*(x[:count] for x in measuring_queries(index, seed)))
    options = SearchOptions(k=_TOP, exact=True)
    answers = search_embeddings(index, queries, index.manifest.score, options, [""] * len(queries.iou))
    return queries, [{hit.row for hit in answer.hits} for answer in answers]


def _recall(reader: Reader, queries: Embeddings, truth: Sequence[set[int]]) -> float:
    """The share of the exact top 10, after NMS, that a search finds."""
    found = 0
    for number, exact in enumerate(truth):
        both = Embeddings(*(x[number] for x in queries))
        answer = search_reader(reader, both, SearchOptions(k=_TOP), Chosen())
        found += len(exact & {hit.row for hit in answer.answer.hits})
    return found / max(1, sum(len(exact) for exact in truth))

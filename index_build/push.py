"""Bring a database to what an index holds: only what changed is sent, and readers see it all at once.

Segments never change, so a segment that was sent stays as it is, and a video that was removed is deleted.
What is new is sent where no reader looks. Then the search is measured against the index itself, the new
version is published in one step, and what nobody needs any more is deleted. A push that was killed is
continued by the next one, from the last moments that arrived.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from mmn_index import checkpoint
from mmn_index.databases.columns import columns_of
from mmn_index.databases.contract import (
    Chosen,
    Database,
    Published,
    PushedSegment,
    Reader,
    Rows,
    Staging,
    Writer,
    schema_text,
)
from mmn_index.databases.search import SCANNED, search_reader
from mmn_index.errors import CheckpointError, DatabaseError, MomentIndexError
from mmn_index.index import MomentIndex
from mmn_index.index.segment import Segment
from mmn_index.index.segment_files import EMBEDDINGS, HUBS, TUBES, VIDEOS, WINDOWS
from mmn_index.scoring import Embeddings
from mmn_index.search import SearchOptions, search_embeddings
from mmn_index.zero_shot import is_zero_shot

from .candidates import RECALL, measuring_queries
from .lists import nearest_lists, number_of_lists, train_lists

BATCH = 1 << 13  # moments that are sent together
_GROWN = 8  # times as many moments as the lists were made for: they are made anew
_SHAPING = (EMBEDDINGS, HUBS, TUBES, VIDEOS, WINDOWS)  # files of a segment that a database has the content of
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
    with database.pushing() as writer:
        staging, goal = _plan(index, writer, overwrite=overwrite)
        before = writer.published
        if before is not None and _same(before, goal):
            writer.sweep(before)
            return Pushed(before, 0, 0, 0, True, _left_out(index, goal))
        writer.stage(staging, goal)
        centres = _lists(index, writer, goal)
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


def _plan(index: MomentIndex, writer: Writer, *, overwrite: bool) -> tuple[Staging, Published]:
    """What is under way, and what will be published; not yet measured."""
    manifest, before = index.manifest, writer.published
    origin, wanted = str(index.root.resolve()), _wanted_lists(index.num_moments)
    if before is not None and not overwrite:
        _refuse_another(index, before, origin)
    digests = {segment.entry.id: _digest(segment) for segment in index.segments}
    anew = overwrite or before is None or before.spaces != manifest.spaces
    if before is not None and not anew:
        changed = any(digests.get(one.id, one.digest) != one.digest for one in before.segments)
        outgrown = wanted and index.num_moments > _GROWN * max(before.trained, 1)
        anew = changed or bool(outgrown) or before.joint_dim != manifest.joint_dim
    under_way = writer.staging
    if under_way is not None and (under_way.origin, under_way.fingerprint) != (origin, manifest.fingerprint):
        under_way = None
    generation = 1 if before is None else before.generation + anew
    if writer.staging is not None and anew:
        # A push that was killed may have begun it: continued if it was one of this index.
        generation = max(generation, writer.staging.generation + (under_way is None))
    known = {} if under_way is None or under_way.generation != generation else dict(under_way.skipped)
    published = {} if before is None or anew else {one.key: one for one in before.segments}
    segments = []
    for segment in index.segments:
        entry = segment.entry
        key = f"{entry.id}.{generation}"
        skipped = published[key].skipped if key in published else known.get(key, tuple(entry.removed))
        segments.append(
            PushedSegment(
                key, entry.id, digests[entry.id], entry.moments, entry.videos, skipped, tuple(entry.removed)
            )
        )
    trained = index.num_moments if anew or before is None else before.trained
    if under_way is not None and under_way.generation == generation:
        trained = under_way.trained
    staging = Staging(
        generation, origin, manifest.fingerprint, {one.key: one.skipped for one in segments}, trained
    )
    lists = (wanted if trained > SCANNED else 0) if anew or before is None else before.lists
    columns = columns_of(index.columns, () if before is None else before.columns)
    goal = Published(
        generation=generation,
        version=manifest.version,
        origin=origin,
        fingerprint=manifest.fingerprint,
        video_side=_video_side(index),
        joint_dim=manifest.joint_dim,
        spaces=manifest.spaces,
        longest=manifest.longest,
        per_window=len(manifest.grid),
        tubes=manifest.tubes,
        score=manifest.score,
        schema=schema_text(index.columns),
        columns=columns,
        segments=tuple(segments),
        moments=index.num_moments,
        lists=lists,
        trained=trained,
    )
    return staging, goal


def _video_side(index: MomentIndex) -> str | None:
    """What another text side must have in common with the index's model."""
    try:
        return None if is_zero_shot(index.model_path) else checkpoint.info(index.model_path).video_fingerprint
    except CheckpointError:
        return None  # an index without its model is searched with the model of its fingerprint


def _wanted_lists(moments: int) -> int:
    return number_of_lists(moments) if moments > SCANNED else 0


def _digest(segment: Segment) -> str:
    files = {name: about for name, about in segment.entry.files.items() if name in _SHAPING}
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]


def _refuse_another(index: MomentIndex, before: Published, origin: str) -> None:
    """Stop where a collection holds another index, or a later version."""
    ids = {segment.entry.id for segment in index.segments}
    related = before.origin == origin or bool(ids & {one.id for one in before.segments})
    if before.fingerprint != index.manifest.fingerprint or not related:
        raise DatabaseError(
            f"the collection holds the index {before.origin} of model {before.fingerprint[:16]}, not "
            f"{origin} of model {index.manifest.fingerprint[:16]}. Name another collection, or replace it "
            "with --overwrite."
        )
    if before.version > index.version:
        raise DatabaseError(
            f"the collection holds version {before.version} of the index, {origin} is version "
            f"{index.version}. Push the later one, or go back with --overwrite."
        )


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

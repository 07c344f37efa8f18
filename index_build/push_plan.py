"""What a push will publish, and what of it is there already: published, or left by a push that was killed.

The database may hold another copy of the index, with other videos removed. What is there is built upon only
where it has all that this index has; what it lacks is sent anew.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mmn_index import checkpoint
from mmn_index.databases.columns import columns_of
from mmn_index.databases.contract import Published, PushedSegment, schema_text
from mmn_index.databases.search import SCANNED
from mmn_index.errors import CheckpointError, DatabaseError
from mmn_index.index import Manifest, MomentIndex
from mmn_index.index.segment import Segment
from mmn_index.index.segment_files import EMBEDDINGS, HUBS, TUBES, VIDEOS, WINDOWS
from mmn_index.zero_shot import is_zero_shot

from .lists import number_of_lists

_GROWN = 8  # times as many moments as the lists were made for: they are made anew
_SHAPING = (EMBEDDINGS, HUBS, TUBES, VIDEOS, WINDOWS)  # files of a segment that a database has the content of


@dataclass(frozen=True)
class Plan:
    """What a push has to do."""

    goal: Published  # as it will be, not yet measured
    fresh: tuple[str, ...]  # keys of segments that are sent from their first moment
    fresh_lists: bool  # the lists of this generation are made by this push


def make_plan(
    index: MomentIndex, before: Published | None, left: Published | None, *, overwrite: bool
) -> Plan:
    """Compare an index with what a database holds.

    Args:
        before: what is published.
        left: what a push that did not end was about to publish.
        overwrite: everything is sent, whatever is there.

    Raises:
        DatabaseError: the database holds another index, or a later version.
    """
    manifest, origin = index.manifest, str(index.root.resolve())
    if before is not None and not overwrite:
        _refuse_another(index, before, origin)
    digests = {segment.entry.id: _digest(segment) for segment in index.segments}
    wanted = number_of_lists(index.num_moments) if index.num_moments > SCANNED else 0
    anew = before is None or overwrite or _sent_anew(index, before, digests, wanted)
    generation = (0 if before is None else before.generation) + anew
    begun = left if left is not None and _continued(left, generation, manifest) else None
    there = {} if anew or before is None else {one.key: one for one in before.segments}
    begun_segments = {} if begun is None else {one.key: one for one in begun.segments}
    segments, fresh = [], []
    for segment in index.segments:
        entry, removed = segment.entry, tuple(segment.entry.removed)
        key, digest = f"{entry.id}.{generation}", digests[entry.id]
        one = PushedSegment(key, entry.id, digest, entry.moments, entry.videos, removed, removed)
        known = there.get(key) or begun_segments.get(key)
        if known is None or known.digest != digest or not {*known.skipped} <= {*removed}:
            fresh.append(key)
        else:
            one = replace(one, skipped=known.skipped)
        segments.append(one)
    made_for = begun or (None if anew else before)  # what the lists are of
    known_columns = [column for one in (before, begun) if one is not None for column in one.columns]
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
        columns=columns_of(index.columns, known_columns),
        segments=tuple(segments),
        moments=index.num_moments,
        lists=wanted if made_for is None else made_for.lists,
        trained=index.num_moments if made_for is None else made_for.trained,
    )
    return Plan(goal, tuple(fresh), made_for is None)


def _sent_anew(index: MomentIndex, before: Published, digests: Mapping[str, str], wanted: int) -> bool:
    """Whether what is published cannot be built upon.

    Args:
        digests: of the index's segments, by their ids.
        wanted: lists for so many moments.
    """
    if (before.spaces, before.joint_dim) != (index.manifest.spaces, index.manifest.joint_dim):
        return True
    if wanted and (not before.lists or index.num_moments > _GROWN * before.trained):
        return True
    removed = {segment.entry.id: {*segment.entry.removed} for segment in index.segments}
    return any(
        # What was removed is gone from the database: another copy of the index may still have it.
        digests[one.id] != one.digest or not {*one.skipped, *one.removed} <= removed[one.id]
        for one in before.segments
        if one.id in digests
    )


def _continued(left: Published, generation: int, manifest: Manifest) -> bool:
    """Whether what a push left can be a part of this one."""
    return (left.generation, left.fingerprint, left.spaces, left.joint_dim) == (
        generation,
        manifest.fingerprint,
        manifest.spaces,
        manifest.joint_dim,
    )


def _video_side(index: MomentIndex) -> str | None:
    """What another text side must have in common with the index's model."""
    try:
        return None if is_zero_shot(index.model_path) else checkpoint.info(index.model_path).video_fingerprint
    except CheckpointError:
        return None  # an index without its model is searched with the model of its fingerprint


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

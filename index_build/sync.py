"""Bring an index to what is in some folders, in one change.

New and changed files are described and embedded with the index's own model. The moments of files that were
moved, renamed, copied or touched are copied. A run that is killed leaves the index as it was; run again, it
resumes.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from mmn_index.cluster.nodes import Done
from mmn_index.cluster.session import Session
from mmn_index.errors import ConfigError, FeatureError, VideoError
from mmn_index.feature_writer import FeatureWriter
from mmn_index.features import FeatureFile
from mmn_index.index import IndexWriter, Manifest, MomentIndex, SegmentEntry
from mmn_index.index.bank import read_bank
from mmn_index.index.manifest import read_manifest
from mmn_index.left_out import LeftOut, refuse
from mmn_index.made_by import is_other, other_weights
from mmn_index.models import load_model, model_info, refuse_tubes
from mmn_index.moment_model import MomentModel
from mmn_index.origin import Origin, source_of
from mmn_index.places import beside
from mmn_index.video.backbones import Backbone, load_backbone

from .build import opened, tombstones
from .columns import columns_of, joined, read_own
from .embed import write_segment
from .extract import Describers, extract_found
from .folders import Contents, check_loss, strays, survey
from .follow import columns_before, crowded, follow, known_columns, relabelled
from .metadata import rows_of
from .source import Source, check_backbone, usable_of
from .sync_plan import FoundFile, SyncPlan, plan_sync
from .video_files import Names, VideoFiles

EXTRACTING, EMBEDDING = "extracting features", "embedding videos"
Report = Callable[[float, float, str, str], None]


@dataclass(frozen=True)
class Places:
    """What an index is to be in step with.

    Attributes:
        videos, prefix, follow_links: see `find_videos`.
        metadata: a CSV or Parquet file of the user's own columns, by `video_id`.
        keep_missing: videos whose files are gone stay in the index.
        remove_missing: they are removed even where it looks as if a disk were not mounted.
        strict: a file that is left out is an error, and the index stays as it was.
    """

    videos: Sequence[Path]
    prefix: str = ""
    follow_links: bool = False
    metadata: Path | None = None
    keep_missing: bool = False
    remove_missing: bool = False
    strict: bool = False


@dataclass(frozen=True)
class Recipe:
    """How new files become features.

    Attributes:
        backbone: see `load_backbone`; None takes the one that the index names.
        rate: snippets a second; None takes that of the index, or the backbone's own.
        device: where networks run.
        workers: processes that decode.
        session: a cluster whose workers describe videos, in place of those processes.
    """

    backbone: str | None = None
    rate: float | None = None
    device: str = "cpu"
    workers: int = 1
    session: Session | None = None


@dataclass(frozen=True)
class SyncResult:
    """What was done.

    Attributes:
        described: how many files were described, new and changed.
        videos, moments: of the index now.
        left_out: files that should be in the index and are not.
        remarks: lines on what was passed over by rule.
        done: what each node of a cluster did.
    """

    plan: SyncPlan
    described: int
    videos: int
    moments: int
    left_out: list[LeftOut] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    done: list[Done] = field(default_factory=list)


@dataclass(frozen=True)
class _Change:
    """What a synchronisation works on."""

    writer: IndexWriter
    manifest: Manifest
    index: MomentIndex
    own: pa.Table | None  # the user's columns, with video_id
    recipe: Recipe
    report: Report

    @property
    def features(self) -> Path:
        """Where features are until they are in the index."""
        return beside(self.writer.root, ".sync.h5")

    @cached_property
    def model(self) -> MomentModel:
        """The index's own, loaded once."""
        path, recipe = self.index.model_path, self.recipe
        return load_model(path, recipe.device, recipe.backbone if model_info(path).spaces == 1 else None)


def sync(
    root: Path,
    places: Places,
    recipe: Recipe | None = None,
    *,
    settled: Callable[[FoundFile], bool] = lambda file: True,
    tell: Callable[[SyncPlan], None] = lambda plan: None,
    report: Report = lambda done, total, note, what: None,
) -> SyncResult:
    """Add, describe again, follow and remove videos of an index, until it holds what is in some folders.
    Videos of other places stay.

    Args:
        settled: whether a file may be described now; else it waits for the next time.
        tell: called with what is to be done, before anything is.
        report: called with (done, in all, a note, what is being done).

    Raises:
        MomentIndexError: there is no index.
        VideoError: a place is not there, and never was; or a file is left out and that is strict.
        MissingError: a place seems to have lost its videos; see `check_loss`.
        AnnotationError: the user's columns cannot be read, or do not fit the index.
        ConfigError: the index's features are of a backbone that cannot be computed here.
        OutputError: the index cannot be written, or another process writes.
    """
    refuse_tubes(
        root, "videos cannot be synchronised: `add` takes a file of tubes", tubes=read_manifest(root).tubes
    )
    with IndexWriter(root) as writer:
        manifest = opened(writer)
        index = MomentIndex.of(root, manifest)
        own = None if places.metadata is None else read_own(places.metadata, known_columns(index))
        change = _Change(writer, manifest, index, own, recipe or Recipe(), report)
        here = survey(index, places.videos, places.prefix, places.follow_links, settled)
        plan = plan_sync(here.indexed, here.found, Contents().same, keep_missing=places.keep_missing)
        if not places.keep_missing and not places.remove_missing:
            check_loss(plan, here, root)
        tell(plan)
        left_out = here.left_out + plan.left_out
        made, done = list[SegmentEntry](), list[Done]()
        described = 0
        if files := plan.added | plan.changed:
            partly, done = describe(change, files)
            left_out += partly
            segment, described, unusable = embed(change, files)
            left_out += unusable
            made += [] if segment is None else [segment]
        if places.strict:
            refuse(left_out, VideoError)
        manifest = _publish(change, plan, made)
        _drop(change.features)
        left = MomentIndex.of(root, manifest)
        remarks = here.remarks + strays(plan, here, root)
        return SyncResult(plan, described, len(left.video_ids), left.num_moments, left_out, remarks, done)


def describe(change: _Change, files: Mapping[str, FoundFile]) -> tuple[list[LeftOut], list[Done]]:
    """Describe files as the videos of the index were described; what a killed run has done is not done again.

    Returns:
        Files that give nothing, or less than they should; and what each node of a cluster did.

    Raises:
        ConfigError: how the index's features were made is not known, or cannot be done here.
        CheckpointError: the index's model is damaged, or what it refers to is not found.
    """
    recipe, out = change.recipe, change.features
    name, backbone = _backbone(change)
    if model_info(change.index.model_path).spaces == 2:  # of a dual encoder, the backbone is a part
        change.model  # noqa: B018  # its text encoder may be gone, which is to show before the work
    rate = recipe.rate or change.manifest.rate or backbone.rate
    if not _fits(out, backbone, rate, files):
        _drop(out)
    found = VideoFiles({video_id: file.path for video_id, file in files.items()})

    def report(done: float, total: float, note: str) -> None:
        change.report(done, total, note, EXTRACTING)

    helpers = None if recipe.session is None else Describers(recipe.session, name)
    made = extract_found(
        found, out, backbone=backbone, rate=rate, workers=recipe.workers, report=report, helpers=helpers
    )
    return made.left_out, helpers.done if helpers else []


def embed(change: _Change, files: Mapping[str, FoundFile]) -> tuple[SegmentEntry | None, int, list[LeftOut]]:
    """Embed files that were described into a new segment, with the index's own model.

    Returns:
        The segment, None where there is nothing for one; how many videos it has; and files that changed
        while they were described.
    """
    index, manifest, path = change.index, change.manifest, change.index.model_path
    about = model_info(path)
    if not change.features.is_file():
        return None, 0, []
    with FeatureFile(change.features) as features:
        check_backbone(about, features, path)
        ids, left_out = _fresh(features, files)
        if not ids:
            return None, 0, left_out
        source = Source(features, dict.fromkeys(ids), windows=manifest.windows)
        videos, unusable = usable_of(source, about)
        ids = [video.video_id for video in videos]
        table, _ = columns_of(features, ids, None, known_columns(index))
        before = columns_before(index, ids)
        table = before if table is None else joined(before, table)
        if change.own is not None:
            table = joined(rows_of(change.own, ids), table)
        device = change.recipe.device
        kept, tau = manifest.bank, manifest.score.tau
        bank = None if kept is None else read_bank(index.root, kept, tau, device)

        def report(done: int, total: int) -> None:
            change.report(done, total, "", EMBEDDING)

        table = table if table.num_columns else None
        entry = write_segment(
            change.writer, manifest, change.model, videos, source, bank, report, table, device
        )
    return entry, len(videos), left_out + unusable


def _publish(change: _Change, plan: SyncPlan, made: list[SegmentEntry]) -> Manifest:
    """One change of the index: what was embedded, what is copied, and without what has ended."""
    index = change.index
    again = set() if change.own is None else relabelled(index, plan.staying, change.own)
    ended = set(index.video_ids) - set(plan.staying) | again
    if not (made or ended or plan.followed):
        return change.manifest
    kept = tombstones(index, ended)
    merged = crowded(kept, len(made) + bool(plan.followed or again))
    copied = follow(change.writer, change.manifest, index, plan, again, merged, change.own)
    kept = [entry for entry in kept if entry not in merged]
    made = made if copied is None else [*made, copied]
    return change.writer.publish(replace(change.manifest, segments=(*kept, *made)))


def _backbone(change: _Change) -> tuple[str, Backbone]:
    """What made the index's features: its name for `load_backbone`, and ready to be used.

    Raises:
        ConfigError: it is not known, not at hand, or another one was asked for.
    """
    named, recipe, root = change.manifest.features, change.recipe, change.index.root
    if named is None and recipe.backbone is None:
        raise ConfigError(
            f"{root}: does not say with which backbone its features were made, so new videos cannot be "
            "described alike. Name it with --backbone."
        )
    about = model_info(change.index.model_path)
    # A dual encoder describes frames as well, and the index knows its place.
    known = about.encoder.name if about.spaces == 1 and about.encoder else (named or "").partition("#")[0]
    name = recipe.backbone or known
    try:
        backbone = load_backbone(name, "cpu" if name == "pixels" else recipe.device)
    except ConfigError as error:
        if recipe.backbone is not None:
            raise
        raise ConfigError(
            f"{root}: its features are of backbone '{named}', which is not found here ({error}) Name its "
            "folder with --backbone, or add features that were made elsewhere with `mmn-index add`."
        ) from error
    if named is not None and is_other(named, about.weights, backbone.name, backbone.weights):
        raise ConfigError(
            f"{root}: its features are of backbone '{named}'{other_weights(about.weights)}, --backbone "
            f"{name} is '{backbone.name}'{other_weights(backbone.weights)}. Features of two kinds do "
            "not mix."
        )
    return name, backbone


def _fits(out: Path, backbone: Backbone, rate: float, files: Mapping[str, FoundFile]) -> bool:
    """Whether features that a killed run left are of some of these files, made in the same way."""
    try:
        with FeatureWriter(out, backbone=backbone.name, rate=rate, weights=backbone.weights) as writer:
            origins = {video_id: writer.origin(video_id) for video_id in writer.done}
    except FeatureError:
        return False
    names = Names(origins)
    for video_id, file in files.items():
        origin = origins.get(video_id)
        if origin is None and names.in_the_way(video_id) is not None:
            return False
        if origin is not None and origin.source != source_of(file.path):
            return False
    return True


def _fresh(features: FeatureFile, files: Mapping[str, FoundFile]) -> tuple[list[str], list[LeftOut]]:
    """Files whose features are those of their present content; and those that have changed meanwhile."""
    fresh, left_out = [], []
    for video_id, file in files.items():
        if video_id not in features:
            continue
        now, about = Origin.of(file.path), features.about(video_id)
        if (about.get("size"), about.get("modified")) == (now.size, now.modified):
            fresh.append(video_id)
        else:
            why = "has changed while it was described. The next run describes it again"
            left_out.append(LeftOut(str(file.path), f"{file.path}: {why}."))
    return fresh, left_out


def _drop(features: Path) -> None:
    features.unlink(missing_ok=True)
    shutil.rmtree(features.with_name(f"{features.name}.parts"), ignore_errors=True)

"""A build in parts: every process embeds a share of the videos, as an index of its own beside the one that is
to be; publish.py puts the parts together.

A part is complete once its manifest is there. One that was killed is resumed by the same command, and a
process that comes to a part which another one has is refused, by the lock that every index has.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mmn_index.embedding import batch_size
from mmn_index.errors import MomentIndexError
from mmn_index.features import FeatureFile
from mmn_index.index import IndexWriter, Manifest, ShardAbout
from mmn_index.left_out import LeftOut
from mmn_index.models import load_model
from mmn_index.moment_model import ModelInfo, MomentModel
from mmn_index.places import beside, check_folder
from mmn_index.tube_videos import TubeVideos
from mmn_index.windows import WindowRule

from .build import write_plan
from .build_plan import Hubs, Plan, ranking_of
from .candidates import Wish
from .share import Share
from .source import Report
from .video_files import VideoFiles


@dataclass(frozen=True)
class ShardResult:
    """What was written.

    Attributes:
        there: it was complete already, and nothing was done.
    """

    place: Path
    share: Share
    videos: int
    moments: int
    there: bool
    left_out: tuple[LeftOut, ...] = ()
    remarks: tuple[str, ...] = ()


def shards_of(root: Path) -> Path:
    """The folder of the parts of an index that is to be."""
    return beside(root, ".shards")


def place_of(root: Path, share: Share) -> Path:
    """Where a part lies."""
    return shards_of(root) / f"{share.name}.mmn"


def shares_begun(root: Path) -> list[Share]:
    """The parts of an index that are there, complete or not, in their order.

    Raises:
        MomentIndexError: they are of several counts.
    """
    folder = shards_of(root)
    found = list[Share]()
    for path in folder.glob("*-of-*.mmn"):
        if path.is_dir() and (share := Share.named(path.stem)) is not None:
            found.append(share)
    found.sort(key=lambda share: (share.of, share.number))
    check_counts(f"{folder}: has", found, "Remove the folders of those that are not wanted.")
    return found


def check_counts(has: str, shares: Sequence[Share], remedy: str) -> None:
    """Make sure that parts are of one count.

    Args:
        has: what has them, and the verb.
        shares: in the order in which they are to be named.

    Raises:
        MomentIndexError: they are not.
    """
    counts = list(dict.fromkeys(share.of for share in shares))
    if len(counts) > 1:
        told = (f"of {of} ({', '.join(str(share) for share in shares if share.of == of)})" for of in counts)
        raise MomentIndexError(f"{has} shards {' and '.join(told)}, which do not belong together. {remedy}")


def whole_of(
    about: ModelInfo,
    score: str | None,
    hubs: Hubs | None,
    windows: WindowRule | None,
    metadata: Path | None,
    *,
    self_contained: bool,
) -> dict[str, str]:
    """What all parts must have in common beside their videos: its name, and a digest of it."""
    sentences, ranking = ranking_of(about, score, hubs)
    kind = None if hubs is None else hubs.kind
    return {
        "model": about.fingerprint,
        "score and bank": _digest([asdict(ranking), kind, list(sentences or ())]),
        "windows": _digest(asdict(windows or about.windows)),
        "metadata": "" if metadata is None else hashlib.sha256(metadata.read_bytes()).hexdigest(),
        "--self-contained": str(self_contained),
    }


def files_of(found: VideoFiles, backbone: str, rate: float) -> dict[str, str]:
    """The same of video files, and how they are described."""
    files = [[video_id, _size(path)] for video_id, path in found.videos.items()]
    return {"features": f"{backbone} at {rate:g}", "videos": _digest(files)}


def features_of(plan: Plan) -> dict[str, str]:
    """The same of features that all parts are made of."""
    features: FeatureFile | TubeVideos = plan.source.features
    videos = [[v.video_id, v.duration, [asdict(tube) for tube in v.tubes]] for v in plan.videos]
    return {"features": features.state, "videos": _digest(videos)}


def build_shard(
    plan: Plan,
    root: Path,
    share: Share,
    *,
    files: Mapping[str, str] | None = None,
    device: str = "cpu",
    load: Callable[[], MomentModel] | None = None,
    report: Report = lambda done, total: None,
) -> ShardResult:
    """Embed a share of the videos of a plan and keep it beside the index that is to be.

    Embeddings are the same to the bit as in an index that is built at once, but where each part has features
    of its own: there, which windows are embedded together is another thing at the end of each part.

    Args:
        root: of the index that is to be.
        files: from `files_of`; the plan then holds the videos of this share alone.
        load: gives the model; None loads it.
        report: called with (windows done, windows in all) of this share.

    Raises:
        OutputError: another process writes this part, or the place cannot be written.
        CheckpointError: the model is damaged.
    """
    metadata, source = plan.source.metadata, replace(plan.source, wish=Wish("exact"))
    score, hubs, windows = plan.score.name, plan.hubs, plan.source.windows
    common = whole_of(plan.about, score, hubs, windows, metadata, self_contained=plan.self_contained)
    about = ShardAbout(share.number, share.of, {**common, **(files or features_of(plan))})
    every = slice(0, len(plan.videos))
    part = every if files is not None else part_of(plan, share)
    if not plan.videos[part]:
        return write_empty(plan.about, about, root, tuple(plan.left_out))
    place, remarks = place_of(root, share), list(plan.remarks)
    check_folder(place)
    with IndexWriter(place, anew=True) as writer:
        manifest, there = writer.manifest, _is(writer.manifest, about)
        if manifest is not None and there:
            check_files(place, manifest)
        else:
            model = load() if load else load_model(plan.checkpoint, device)
            plan = replace(plan, source=source)
            manifest, _, more = write_plan(writer, plan, model, report, device, part, about)
            remarks += more
    return _result(place, manifest, there, (tuple(plan.left_out), tuple(remarks)))


def part_of(plan: Plan, share: Share) -> slice:
    """The videos of a share: about as many windows in each. Borders lie between batches where they can: a
    batch that a border runs through is computed by both.
    """
    weights = [len(video.windows) for video in plan.videos]
    return share.part(weights, batch_size(plan.about.grid))


def write_empty(
    about: ModelInfo, shard: ShardAbout, root: Path, left_out: tuple[LeftOut, ...]
) -> ShardResult:
    """A part without videos: there are more parts than videos, or none of its videos can be used.

    Raises:
        OutputError: another process writes this part, or the place cannot be written.
    """
    place = place_of(root, Share(shard.number, shard.of))
    score = ranking_of(about, None, None)[1]
    with IndexWriter(place, anew=True) as writer:
        manifest, there = writer.manifest, _is(writer.manifest, shard)
        if manifest is None or not there:
            shape = about.fingerprint, about.features, about.joint_dim, about.grid, score, ()
            manifest = writer.publish(Manifest(*shape, spaces=about.spaces, shard=shard))
    return _result(place, manifest, there, (left_out, ()))


def check_files(place: Path, manifest: Manifest) -> None:
    """Make sure that the files of a complete part are there, in their sizes.

    Raises:
        MomentIndexError: they are not.
    """
    for name, (size, _) in manifest.files.items():
        if not (place / name).is_file() or (place / name).stat().st_size != size:
            raise damaged(place, name)


def damaged(place: Path, name: str) -> MomentIndexError:
    """What to say of a part of which a file is not what it was."""
    return MomentIndexError(
        f"{place / name}: is damaged or missing. Remove {place}, and run the same `mmn-index build` again "
        f"with --shard {place.stem.replace('-of-', '/')}."
    )


def _is(manifest: Manifest | None, about: ShardAbout) -> bool:
    """Whether a part is complete that is to be written."""
    return manifest is not None and manifest.shard == about


def _result(
    place: Path, manifest: Manifest, there: bool, more: tuple[tuple[LeftOut, ...], tuple[str, ...]]
) -> ShardResult:
    assert manifest.shard is not None
    share = Share(manifest.shard.number, manifest.shard.of)
    videos = sum(entry.videos for entry in manifest.segments)
    moments = sum(entry.moments for entry in manifest.segments)
    return ShardResult(place, share, videos, moments, there, *more)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0

"""From video files to a feature file.

A run can be killed at any time and started again: finished videos stay. A file that cannot be decoded is left
out; one that changes later is described again.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ..cluster.crew import Lost, RayCrew
from ..cluster.nodes import Done, done_by, has_gpus
from ..cluster.session import Session
from ..errors import ConfigError, OutputError, VideoError
from ..feature_shards import shard_file
from ..feature_writer import FeatureWriter
from ..left_out import SHOWN, LeftOut, refuse
from ..origin import Known, Origin
from ..places import check_folder
from ..readable import typed
from ..video.backbones import Backbone, load_backbone
from .crew import Crew, Died
from .describe import Described, Task, attempt, describer
from .film import FilmProgress, Report, lengths
from .share import Share
from .video_files import Names, VideoFiles, find_videos

_PATIENCE = 3.0  # seconds for finding out how long videos are, which only the progress needs
_Outcome = Described | str | OutputError


class Describers:
    """Workers of a cluster that describe videos; they see the files, and the folder of the features, under
    the same paths as this process.

    Args:
        backbone: as `load_backbone` knows it on all nodes.
        gpus: whether a network gets GPUs, where the cluster has some.

    Attributes:
        done: what each node did, once they have finished.
    """

    def __init__(self, session: Session, backbone: str, *, gpus: bool = True) -> None:
        folder = Path(backbone).is_dir()
        self._session, self._backbone = session, os.path.abspath(backbone) if folder else backbone
        self._gpus = gpus and backbone != "pixels"
        self.done: list[Done] = []

    def outcomes(
        self, rate: float, tasks: Mapping[str, Task], tell: Callable[[str, float], None]
    ) -> Iterator[tuple[str, _Outcome | Lost]]:
        """(video id, outcome) of every video, in the order in which they are finished."""
        gpus = self._gpus and has_gpus(self._session)
        tasks = {name: _for_others(task) for name, task in tasks.items()}
        job = partial(describer, self._backbone, rate, "cuda" if gpus else "cpu")
        crew: RayCrew[Task, _Outcome] = RayCrew(self._session, job, gpus=gpus)
        seconds: dict[str, float] = {}
        for video_id, outcome in crew.outcomes(tasks, tell):
            if isinstance(outcome, Described):
                seconds[video_id] = outcome.duration
            yield video_id, outcome
        self.done = done_by({name: crew.doers[name] for name in seconds}, seconds)


def _for_others(task: Task) -> Task:
    """A task that means the same to processes in other folders."""
    return replace(task, place=replace(task.place, stem=Path(os.path.abspath(task.place.stem))))


@dataclass(frozen=True)
class ExtractResult:
    """What a run did.

    Attributes:
        extracted: number of videos that were described.
        again: of these, the number of those that had features of an earlier state of their file.
        skipped: number of videos whose features were there already.
        video_ids: of both: the videos that the feature file has now, out of those that were found.
        left_out: each file that gave nothing, or less than it should.
        remarks: lines on what was passed over by rule.
    """

    extracted: int
    again: int
    skipped: int
    left_out: list[LeftOut] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    out: Path = Path()
    video_ids: Sequence[str] = ()


def usual_workers(backbone: str) -> int:
    """How many processes decode for the backbone of this name where nobody says: one a processor that this
    process may use for `pixels`, else 1.
    """
    return len(os.sched_getaffinity(0)) if backbone == "pixels" else 1


def extract(
    videos: Sequence[Path],
    out: Path,
    *,
    backbone: str = "pixels",
    rate: float | None = None,
    device: str = "cpu",
    workers: int = 1,
    prefix: str = "",
    follow_links: bool = False,
    share: Share | None = None,
    strict: bool = False,
    report: Report | None = None,
    helpers: "Describers | None" = None,
) -> ExtractResult:
    """Describe videos and keep their snippets in a feature file, which is made or extended.

    Args:
        videos: files, tried whatever their suffix, and folders, searched for files with a video's suffix.
        out: the feature file; videos that it holds already are skipped unless their file has changed.
        backbone: see `load_backbone`.
        rate: snippets a second; None takes the backbone's own.
        device: where a network runs.
        workers: processes that decode. Networks always run in this one, whatever the number.
        prefix, follow_links: see `find_videos`.
        share: of the videos; its features come into a file of its own beside `out`, and a run without a share
            merges all of these. A share may be without videos, and then has no file.
        strict: anything left out is an error; what was described is kept for the next run.
        report: called as videos are described with (seconds of film done, seconds of film in all, "2 of 12
            files"); those of videos that were there already count as done.
        helpers: workers of a cluster, which then describe the videos.

    Raises:
        VideoError: no video was found, or none of them gave features and there is no feature file.
        ConfigError: no such backbone or device, or a rate or number of workers that is not positive.
        OutputError: the feature file cannot be written, or another process extracts into it.
        FeatureError: the feature file was made by another backbone or at another rate.
    """
    check_folder(out.parent)
    found = find_videos(videos, prefix=prefix, follow_links=follow_links)
    whole = None
    if share is not None:
        found, whole, out = share.of_files(found), out, shard_file(out, share.number, share.of)
    result = extract_found(
        found,
        out,
        backbone=backbone,
        rate=rate,
        device=device,
        workers=workers,
        strict=strict,
        report=report,
        helpers=helpers,
        whole=whole,
    )
    if found.videos and not result.video_ids and not out.is_file():
        raise VideoError(nothing_described(result.left_out))
    return result


def extract_found(
    found: VideoFiles,
    out: Path,
    *,
    backbone: str | Backbone = "pixels",
    rate: float | None = None,
    device: str = "cpu",
    workers: int = 1,
    strict: bool = False,
    report: Report | None = None,
    helpers: Describers | None = None,
    whole: Path | None = None,
) -> ExtractResult:
    """As `extract`, of files that were found and have their ids; perhaps none of them gives features.

    Args:
        backbone: also one that is loaded.
        helpers: workers of a cluster, which then describe the videos.
        whole: a feature file whose videos are skipped, too.
    """
    if workers < 1 or (rate is not None and not 0 < rate < float("inf")):
        raise ConfigError(
            f"A rate of {rate} snippets a second with {workers} workers was asked for, expected more than 0."
        )
    model = load_backbone(backbone, device) if isinstance(backbone, str) else backbone
    rate = model.rate if rate is None else float(rate)
    with FeatureWriter(out, backbone=model.name, rate=rate, weights=model.weights, whole=whole) as writer:
        plan = _plan(found, writer)
        if strict:
            refuse(plan.left_out, VideoError)
        failed, again = _describe_all(found, plan, model, rate, helpers or workers, writer, report)
        left_out = plan.left_out + list(failed.values())
        if strict:
            refuse(left_out, VideoError)
    described = plan.todo.keys() - failed.keys() | plan.there.keys()
    return ExtractResult(
        len(plan.todo) - len(failed),
        again,
        len(plan.there),
        left_out,
        found.remarks,
        Path(out),
        [video_id for video_id in found.videos if video_id in described],
    )


def _describe_all(
    found: VideoFiles,
    plan: "_Plan",
    model: Backbone,
    rate: float,
    workers: "int | Describers",
    writer: FeatureWriter,
    report: Report | None,
) -> tuple[dict[str, LeftOut], int]:
    """Describe what the plan says into the feature file; what failed, by the video's id, and how many were
    there already.
    """
    failed: dict[str, LeftOut] = {}
    again = 0
    tasks = {
        video_id: Task(found.videos[video_id], writer.part(video_id, origin))
        for video_id, origin in plan.todo.items()
    }
    todo = {video_id: task.path for video_id, task in tasks.items()}
    progress = FilmProgress([*plan.there.values()], lengths(todo, _PATIENCE if report else 0.0), report)
    for video_id, outcome in _outcomes(tasks, model, rate, workers, progress.reached):
        if isinstance(outcome, OutputError):
            raise outcome
        if isinstance(outcome, str):
            failed[video_id] = LeftOut(str(todo[video_id]), outcome)
            progress.finished(video_id, 0.0)
            continue
        again += writer.origin(video_id) is not None
        origin = replace(plan.todo[video_id], duration=outcome.duration, stated=outcome.stated)
        writer.finish(video_id, outcome.rows, outcome.width, origin, outcome.about)
        plan.left_out += _cut_short(todo[video_id], origin)
        progress.finished(video_id, outcome.duration)
    return failed, again


@dataclass
class _Plan:
    """What is to be done about the videos that were found.

    Attributes:
        todo: what the file of each video to describe is now, by the video's id.
        there: seconds of each video whose features are there already, by its id; 0 where they are not known.
        left_out: what cannot be described, or was described in part.
    """

    todo: dict[str, Origin]
    there: dict[str, float]
    left_out: list[LeftOut]


def _plan(found: VideoFiles, writer: FeatureWriter) -> _Plan:
    plan = _Plan({}, {}, list(found.left_out))
    uncertain: list[str] = []
    names = Names(writer.done)
    for video_id, path in found.videos.items():
        now, before = Origin.of(path), writer.origin(video_id)
        known = before.compare(now) if before else None
        taken = names.in_the_way(video_id) if before is None else None
        if before is not None and known is Known.ANOTHER:
            has = f"features of {before.source} by that name"
            plan.left_out.append(_name_taken(path, video_id, f"{writer.path} has {has}"))
        elif taken is not None:
            has = f"a video '{taken}', and an id cannot lie below another"
            plan.left_out.append(_name_taken(path, video_id, f"{writer.path} has {has}"))
        elif before is None or known is Known.CHANGED:
            plan.todo[video_id] = now
            names.add(video_id)
        else:
            plan.there[video_id] = before.duration or 0.0
            plan.left_out += _cut_short(path, before)
            uncertain += [video_id] if known is Known.UNCERTAIN else []
    if uncertain:
        found.remarks.append(
            f"{len(uncertain):,} videos count as there already by their names alone, as the files that "
            f"{writer.path} names for them are gone; for example '{uncertain[0]}', now "
            f"{found.videos[uncertain[0]]}."
        )
    return plan


def _name_taken(path: Path, video_id: str, why: str) -> LeftOut:
    return LeftOut(
        str(path),
        f"{path}: would be called '{video_id}', but {why}. Name it apart with --prefix, such as --prefix "
        f"{typed(f'{path.parent.name}/')}, or choose another file with -o.",
    )


def _cut_short(path: Path, origin: Origin) -> list[LeftOut]:
    """What to say of a video if much of it could not be decoded."""
    if origin.duration is None or origin.stated is None:
        return []
    why = (
        f"{path}: {origin.duration:.1f} of its {origin.stated:.1f} s can be decoded; the rest is missing. Is "
        "the file complete?"
    )
    return [LeftOut(str(path), why)]


def nothing_described(left_out: Sequence[LeftOut]) -> str:
    """What to say where no video gave features."""
    more = f" And {len(left_out) - SHOWN:,} more." if len(left_out) > SHOWN else ""
    return "No video gave features. " + " ".join(one.why for one in left_out[:SHOWN]) + more


def _outcomes(
    tasks: dict[str, Task],
    model: Backbone,
    rate: float,
    workers: "int | Describers",
    tell: Callable[[str, float], None],
) -> Iterator[tuple[str, _Outcome]]:
    """(video id, outcome) of every video, in the order in which they are finished."""
    if isinstance(workers, Describers):
        for video_id, found in workers.outcomes(rate, tasks, tell):
            yield video_id, _of_loss(tasks[video_id], found) if isinstance(found, Lost) else found
        return
    if workers > 1 and len(tasks) > 1 and model.name == "pixels":
        crew: Crew[Task, _Outcome] = Crew(min(workers, len(tasks)), partial(describer, model.name, rate))
        for video_id, outcome in crew.outcomes(tasks, tell):
            yield video_id, _of_death(tasks[video_id], outcome) if isinstance(outcome, Died) else outcome
        return
    for video_id, task in tasks.items():
        yield video_id, attempt(model, rate, task, partial(tell, video_id))


def _of_loss(task: Task, loss: Lost) -> str:
    return (
        f"{task.path}: {loss.workers} workers of the cluster were lost while they decoded it. Is the file "
        "damaged, or memory short?"
    )


def _of_death(task: Task, death: Died) -> str:
    return (
        f"{task.path}: the process that decoded it died (exit code {death.exitcode}). Is the file damaged, "
        "or memory short?"
    )

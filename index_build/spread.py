"""A build spread over the nodes of a Ray cluster: each worker builds whole shards (shards.py), then fills
their candidate indexes, and this process publishes them.

All nodes see the features, the model and the place of the index under the same paths.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from mmn_index.cluster.crew import Lost, RayCrew
from mmn_index.cluster.nodes import Done, done_by, has_gpus, places
from mmn_index.cluster.session import Session
from mmn_index.errors import BusyError, ClusterError
from mmn_index.index.codes import Codebook
from mmn_index.models import load_model
from mmn_index.zero_shot import is_zero_shot

from .build import check_free
from .build_plan import Plan
from .candidates import Wish
from .publish import PublishResult, fill_one, publish
from .shards import ShardResult, build_shard, part_of, shards_of, shares_begun
from .share import Share
from .source import Report

_WAIT = 1.0  # seconds between two tries of a shard that another worker has, which may be lost and still at it

Tell = Callable[[float], None]


def build_spread(
    plan: Plan,
    root: Path,
    session: Session,
    wish: Wish | None = None,
    *,
    overwrite: bool = False,
    gpus: bool = True,
    report: Report = lambda done, total: None,
) -> tuple[PublishResult, list[Done]]:
    """Build an index by all workers of a cluster. Killed, it is resumed by the same call: shards that are
    complete stay, and those that were begun are continued.

    Args:
        wish: which candidate index.
        overwrite: replace an index at `root`.
        gpus: whether models get GPUs, where the cluster has some.
        report: called with (windows done, windows in all).

    Raises:
        ClusterError: a shard has cost several workers, or there is no room for any.
        OutputError, MomentIndexError, ConfigError: see `publish`.
    """
    check_free(root, overwrite=overwrite)
    plan, whole = _for_others(plan), Path(os.path.abspath(root))
    gpus = gpus and has_gpus(session)
    shares = _shares(plan, root, places(session, gpus=gpus))
    shards_of(root).mkdir(parents=True, exist_ok=True)
    if is_zero_shot(plan.checkpoint):  # a small folder of this machine's
        plan = replace(plan, checkpoint=_copied(plan.checkpoint, shards_of(root) / "model"))
    job = partial(_builder, plan, whole, "cuda" if gpus else "cpu")
    crew: RayCrew[Share, ShardResult] = RayCrew(session, job, gpus=gpus)
    windows = {
        str(share): sum(len(video.windows) for video in plan.videos[part_of(plan, share)]) for share in shares
    }
    reached = dict.fromkeys(windows, 0.0)

    def tell(name: str, done: float) -> None:
        reached[name] = done
        report(round(sum(reached.values())), sum(windows.values()))

    made: dict[str, ShardResult] = {}
    for name, outcome in crew.outcomes({str(share): share for share in shares}, tell):
        if isinstance(outcome, Lost):
            raise ClusterError(
                f"{root}: shard {name} has cost {outcome.workers} workers. Is their memory short? The same "
                "command resumes."
            )
        made[name] = outcome
        tell(name, windows[name])
    result = publish(root, wish, overwrite=overwrite, fill=partial(_fill, session))
    amounts = {name: float(one.moments) for name, one in made.items()}
    return replace(result, left_out=tuple(plan.left_out)), done_by(crew.doers, amounts)


def _for_others(plan: Plan) -> Plan:
    """A plan that means the same to processes in other folders, and can be pickled."""
    source, metadata = plan.source, plan.source.metadata
    there = None if metadata is None else Path(os.path.abspath(metadata))
    source = replace(source, metadata=there, checked=_unheard)
    return replace(plan, checkpoint=Path(os.path.abspath(plan.checkpoint)), source=source)


def _unheard(done: int, total: int) -> None:
    """Nobody looks at the progress of this."""


def _shares(plan: Plan, root: Path, room: int) -> list[Share]:
    """As many as an earlier run had, whose work stays; else one for each worker."""
    begun = shares_begun(root)
    of = begun[0].of if begun else max(1, min(room, len(plan.videos)))
    return [Share(number, of) for number in range(1, of + 1)]


def _copied(model: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(model, target))


def _builder(plan: Plan, root: Path, device: str) -> Callable[[Share, Tell], ShardResult]:
    """What a worker is: a model, loaded once, that embeds shard after shard."""
    model = load_model(plan.checkpoint, device)

    def build(share: Share, tell: Tell) -> ShardResult:
        def report(done: int, total: int) -> None:
            tell(done)

        while True:
            try:
                return build_shard(plan, root, share, device=device, load=lambda: model, report=report)
            except BusyError:
                time.sleep(_WAIT)  # until it has finished, or died

    return build


def _fill(session: Session, codebook: Path, todo: Mapping[Share, Path]) -> Iterator[Share]:
    """A Filler over a cluster."""
    crew: RayCrew[tuple[Share, Path], None] = RayCrew(
        session, partial(_filler, Path(os.path.abspath(codebook)))
    )
    shares = {str(share): share for share in todo}
    tasks = {name: (share, Path(os.path.abspath(todo[share]))) for name, share in shares.items()}
    for name, outcome in crew.outcomes(tasks, lambda name, done: None):
        if isinstance(outcome, Lost):
            raise ClusterError(
                f"The candidate index of shard {name} has cost {outcome.workers} workers. Is their memory "
                "short? The same command resumes."
            )
        yield shares[name]


def _filler(codebook: Path) -> Callable[[tuple[Share, Path], Tell], None]:
    trained = Codebook.of(codebook)

    def fill(task: tuple[Share, Path], tell: Tell) -> None:
        fill_one(trained, *task)

    return fill

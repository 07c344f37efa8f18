"""The work of `mmn-index eval`: each part that fits the annotations, shown as it comes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmn_index.evaluation.benchmarks import Benchmark, Files

from .asked import Asked
from .output import say
from .plan import Plan, Subject, plan_of
from .report import perhaps, show_section
from .sentences import read_split
from .within import Metric, recall_within
from .within_tubes import viou_in_index, viou_within

if TYPE_CHECKING:
    from mmn_index.evaluation.annotations import Annotations
    from mmn_index.evaluation.sections import Section
    from mmn_index.left_out import LeftOut

    from .corpus import Searched
    from .within import Within


@dataclass
class Found:
    """What was measured so far; each section is shown as it comes."""

    asked: Asked
    sections: "list[Section]" = field(default_factory=list)
    values: Mapping[str, float] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    left_out: "list[LeftOut]" = field(default_factory=list)
    chosen: str = "in pools of videos, as --mvmr says"
    about: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, *sections: "Section") -> None:
        """Show and keep them."""
        for section in sections:
            show_section(section, everything=self.asked.everything, as_json=self.asked.as_json)
            self.sections.append(section)

    def within(self, found: "Within") -> None:
        """Add what was measured within videos."""
        self.values, self.remarks = found.values, found.remarks
        self.left_out += found.left_out
        self.add(*found.sections)


def measure(
    found: Found, subject: Subject, files: Files, benchmark: Benchmark | None, metric: Metric
) -> None:
    """What fits the annotations."""
    from mmn_index.evaluation.made_elsewhere import digest_of

    asked = found.asked
    listed = asked.predictions is not None and subject.model is None and subject.searched is None
    plan = None if listed else plan_of(asked, subject, files)
    if asked.points is not None and not (plan and plan.within):
        raise click.UsageError("--assert-within compares results within videos: give a MODEL, or --features.")
    found.chosen = plan.why if plan else "the lists of a file, as --predictions says"
    say(f"Measured: {found.chosen}.")
    digest = digest_of(files.annotations)
    over = plan is not None and (plan.collection or plan.ranking or plan.tubes)
    searched = open_index(asked, subject, metric) if over else None
    for name, group in _about(asked, subject, files, benchmark, metric, digest).items():
        found.about.setdefault(name, {}).update(group)
    train = read_split(asked.seen, estimate=True) if asked.seen else None
    if asked.predictions:
        from .corpus import score_lists

        found.add(score_lists(asked.predictions, read_split(files.annotations), train, digest))
    if plan is not None and plan.within and subject.model is not None:
        # Where there is an index, it answers with windows: its confidences can refuse.
        found.within(
            viou_within(
                subject.model,
                files,
                digest,
                asked.write_predictions,
                device=asked.device,
                strict=asked.strict or benchmark is not None,
            )
            if subject.tubes
            else recall_within(
                subject.model,
                benchmark,
                files,
                metric,
                train,
                digest,
                windows=plan.windows and searched is None,
                device=asked.device,
                strict=asked.strict,
            )
        )
    if plan is not None and searched is not None:
        _search(found, searched, plan, files, train, digest, benchmark is not None)


def _search(
    found: Found,
    searched: "Searched",
    plan: Plan,
    files: Files,
    train: "Annotations | None",
    digest: str,
    complete: bool,
) -> None:
    """What an index is measured by.

    Args:
        complete: every video has to be there.
    """
    from .corpus import search_collection, search_judged, search_windows

    asked, out = found.asked, found.asked.write_predictions
    found.about.setdefault("evaluated", {}).update(searched.about)
    if plan.tubes:
        how = {"strict": asked.strict or complete}
        found.within(viou_in_index(searched, files.annotations, digest, out, **how))
        return
    if plan.ranking:
        found.add(search_judged(searched, files.annotations, digest))
        return
    section, left_out = search_collection(
        searched, files.annotations, train, digest, predictions=out, strict=asked.strict or complete
    )
    found.add(section)
    found.left_out += left_out
    written = out is not None and out.suffix == ".jsonl"
    if plan.windows or written:
        with perhaps("Windows", strict=asked.strict or complete or written):
            found.add(
                *search_windows(searched, files.annotations, digest, predictions=out, measure=plan.windows)
            )
    if plan.pools:
        with perhaps("Pools", strict=asked.strict or complete):
            measure_pools(found, searched, plan.pools)


def measure_pools(found: Found, searched: "Searched", path: Path) -> None:
    """Each sentence of an MVMR file in its pool of the index's videos."""
    from mmn_index.evaluation.made_elsewhere import digest_of

    from .corpus import search_pools

    digest = digest_of(path)
    found.add(search_pools(searched, path, digest))
    found.about.setdefault("evaluated", {}).update(searched.about)
    found.about.setdefault("annotations", {"path": str(path), "sha256": digest})


def open_index(asked: Asked, subject: Subject, metric: Metric) -> "Searched":
    """The index that is searched, by the score that was asked for."""
    from .corpus import Searched

    return Searched.open(subject.searched or asked.index, asked.score, asked.hub, metric.nms, asked.device)


def _about(
    asked: Asked,
    subject: Subject,
    files: Files,
    benchmark: Benchmark | None,
    metric: Metric,
    digest: str,
) -> dict[str, dict[str, Any]]:
    """What numbers depend on, for the record."""
    from mmn_index.evaluation.made_elsewhere import digest_of

    evaluated: dict[str, Any] = {"predictions": str(asked.predictions)} if asked.predictions else {}
    if subject.model is not None:
        evaluated |= {"model": str(subject.model), "fingerprint": subject.fingerprint}
    options: dict[str, Any] = {
        "data set": benchmark.name if benchmark else None,
        "features": str(files.features) if files.features != Path() else None,
        "NMS": metric.nms,
        "score within videos": metric.score,
        "device": asked.device,
    }
    found = {
        "evaluated": evaluated,
        "annotations": {"path": str(files.annotations), "sha256": digest},
        "options": options,
    }
    if asked.seen:
        found["training split"] = {"path": str(asked.seen), "sha256": digest_of(asked.seen)}
    return found

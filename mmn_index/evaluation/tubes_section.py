"""What a model over tubes answers, as a section of a report, beside chance."""

from collections.abc import Mapping, Sequence
from typing import Any

from .made_elsewhere import tube_plots, tubes_metrics
from .sections import COLLECTION, TUBES, Metric, Query, Section, rounded
from .tables import Table
from .tube_answers import TubeAnswer, results
from .tube_files import videos_of
from .tube_search import DEPTHS, TubeSearch
from .viou import LEVELS

_COLUMNS = ("m_vIoU", "vIoU@0.3", "vIoU@0.5", "m_tIoU")
_PLAIN = 4  # rows of the summary: the model and the three that need none


def tubes_section(
    answers: Sequence[TubeAnswer],
    others: Mapping[str, Mapping[str, float]],
    digest: str,
    what: str = "this model",
) -> Section:
    """The vIoU of a model's answers.

    Args:
        what: is measured.
        others: what would be reached otherwise, as `tube_answers.chances`.
        digest: SHA-256 of the annotation file.
    """
    own, *elsewhere = results(answers)
    rows: list[dict[str, Any]] = [{"what": what, **own.values}]
    rows += [{"what": name, **values} for name, values in others.items()]
    rows += [{"what": f"{what}, as {one.name} counts", **one.values} for one in elsewhere if one.values]
    cells = [[row["what"], *(f"{row[name]:.1f}" if name in row else "" for name in _COLUMNS)] for row in rows]
    title = f"{len(answers):,} sentences, vIoU of HC-STVG's challenge: plain boxes, every frame, hits above"
    return Section(
        TUBES,
        title,
        "HC-STVG",
        _queries(answers),
        tubes_metrics(own, others.get("chance", {})),
        {"annotations": digest},
        rows,
        summary=(Table("", ["", *_COLUMNS], cells[:_PLAIN], 1),),
        tables=(Table("", ["", *_COLUMNS], cells, 1),),
        plots=tube_plots(own),
    )


def tube_search_section(found: TubeSearch, scored: str, digest: str, moments: int) -> Section:
    """What an index answers out of all its videos.

    Args:
        scored: the score of the search, for people.
        moments: of the index.
    """
    recalls = found.recalls()
    header = ["", *(f"R@{k}" for k in DEPTHS)]
    rows = []
    for m in LEVELS:
        each = [recalls[f"R@{k},vIoU>{m}"] for k in DEPTHS]
        rows.append([f"vIoU > {m}", *(f"{100 * float(values.mean()):.1f}" for values, _ in each)])
        rows.append(["  chance", *(f"{100 * chance:.2f}" for _, chance in each)])
    count = len(found.own)
    title = f"{count:,} sentences in {moments:,} moments of all videos, score {scored}"
    table = Table("", header, rows, 1)
    return Section(
        COLLECTION,
        title,
        "tubes over a collection",
        _queries(found.own),
        tuple(
            Metric(
                name, 100 * float(values.mean()), values=rounded(100 * values), chance=100 * chance, main=True
            )
            for name, (values, chance) in recalls.items()
        ),
        {"annotations": digest},
        [
            {"metric": name, "value": 100 * float(values.mean()), "chance": 100 * chance, "sentences": count}
            for name, (values, chance) in recalls.items()
        ],
        {"scope": "corpus"},
        summary=(table,),
        notes=(f"{found.exact:,} of {count:,} answers are proven exact.",),
        tables=(table,),
    )


def _queries(answers: Sequence[TubeAnswer]) -> tuple[Query, ...]:
    videos = videos_of([one.truth.name for one in answers])
    return tuple(
        Query(one.truth.name, video, one.truth.sentence) for one, video in zip(answers, videos, strict=True)
    )

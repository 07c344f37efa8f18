"""What a model over tubes answers, as a section of a report, beside chance."""

from collections.abc import Mapping, Sequence
from typing import Any

from .made_elsewhere import tube_plots, tubes_metrics
from .sections import TUBES, Query, Section
from .tables import Table
from .tube_answers import TubeAnswer, results

_COLUMNS = ("m_vIoU", "vIoU@0.3", "vIoU@0.5", "m_tIoU")
_PLAIN = 4  # rows of the summary: the model and the three that need none


def tubes_section(
    answers: Sequence[TubeAnswer], others: Mapping[str, Mapping[str, float]], digest: str
) -> Section:
    """The vIoU of a model's answers.

    Args:
        others: what would be reached otherwise, as `tube_answers.chances`.
        digest: SHA-256 of the annotation file.
    """
    own, *elsewhere = results(answers)
    rows: list[dict[str, Any]] = [{"what": "this model", **own.values}]
    rows += [{"what": name, **values} for name, values in others.items()]
    rows += [{"what": f"this model, as {one.name} counts", **one.values} for one in elsewhere if one.values]
    cells = [[row["what"], *(f"{row[name]:.1f}" if name in row else "" for name in _COLUMNS)] for row in rows]
    title = f"{len(answers):,} sentences, vIoU of HC-STVG's challenge: plain boxes, every frame, hits above"
    return Section(
        TUBES,
        title,
        "HC-STVG",
        tuple(Query(one.truth.name, one.truth.name, one.truth.sentence) for one in answers),
        tubes_metrics(own, others.get("chance", {})),
        {"annotations": digest},
        rows,
        summary=(Table("", ["", *_COLUMNS], cells[:_PLAIN], 1),),
        tables=(Table("", ["", *_COLUMNS], cells, 1),),
        plots=tube_plots(own),
    )

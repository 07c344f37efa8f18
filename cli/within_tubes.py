"""The part of `mmn-index eval` that measures a model over tubes within annotated videos."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmn_index.errors import ConfigError, OutputError
from mmn_index.evaluation.benchmarks import Files

from .output import print_json, progress, say
from .table import print_table

if TYPE_CHECKING:
    from mmn_index.left_out import LeftOut


def viou_within(
    checkpoint: Path, files: Files, predictions: Path | None, *, as_json: bool, device: str
) -> "tuple[dict[str, float], list[LeftOut]]":
    """Print what a model answers, beside chance; returns its numbers, and videos without a tube.

    Args:
        predictions: where to write the answers, in the form of HC-STVG's challenge.
    """
    from mmn_index import checkpoint as checkpoints
    from mmn_index.evaluation.tube_answers import answer_tubes, chances, results, submission
    from mmn_index.evaluation.tube_truths import read_truths
    from mmn_index.left_out import LeftOut
    from mmn_index.tube_file import TubeFile

    truths = read_truths(files.annotations)
    with TubeFile(files.features) as tubes, progress("answering sentences") as report:
        info = checkpoints.info(checkpoint)
        if info.features and tubes.backbone and info.features != tubes.backbone:
            raise ConfigError(
                f"{files.features}: holds features of '{tubes.backbone}', but {checkpoint} was trained on "
                f"'{info.features}'."
            )
        model = checkpoints.load(checkpoint, device)
        truths = truths.worded(model.shortened)
        answers = answer_tubes(model, truths.videos, tubes, report=report)
        others = chances(truths.videos, tubes, model.grid)
    if truths.cut:
        say(truths.cut_remark)
    if predictions is not None:
        _write(predictions, submission(answers))
    own, *elsewhere = results(answers)
    rows: list[dict[str, Any]] = [{"": "this model", **own.values}]
    rows += [{"": name, **values} for name, values in others.items()]
    rows += [{"": f"this model, as {one.name} counts", **one.values} for one in elsewhere if one.values]
    if as_json:
        for row in rows:
            print_json({"what": row.pop(""), **row})
    else:
        say(f"{len(answers):,} sentences, vIoU of HC-STVG's challenge: plain boxes, every frame, hits above.")
        names = ["m_vIoU", "vIoU@0.3", "vIoU@0.5", "m_tIoU"]
        cells = [[row[""], *(f"{row[name]:.1f}" if name in row else "" for name in names)] for row in rows]
        print_table(["", *names], cells)
    missing = [
        LeftOut(answer.truth.video_id, f"video '{answer.truth.video_id}' has no tube: it counts 0")
        for answer in answers
        if answer.tube is None
    ]
    return dict(own.values), missing


def _write(path: Path, content: dict[str, Any]) -> None:
    from mmn_index.places import aside

    with aside(path) as unfinished:
        try:
            unfinished.write_text(json.dumps(content) + "\n", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror}).") from error

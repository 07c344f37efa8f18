"""The part of `mmn-index eval` that measures a model over tubes within annotated videos."""

import json
from pathlib import Path
from typing import Any

from mmn_index.errors import ConfigError, OutputError
from mmn_index.evaluation.benchmarks import Files

from .output import progress, say
from .within import Within


def viou_within(
    checkpoint: Path, files: Files, digest: str, predictions: Path | None, *, device: str
) -> Within:
    """What a model answers, beside chance; videos without a tube are left out and count 0.

    Args:
        digest: SHA-256 of the annotations.
        predictions: where to write the answers, in the form of HC-STVG's challenge.
    """
    from mmn_index import checkpoint as checkpoints
    from mmn_index.evaluation.tube_answers import answer_tubes, chances, submission
    from mmn_index.evaluation.tube_truths import read_truths
    from mmn_index.evaluation.tubes_section import tubes_section
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
    missing = [
        LeftOut(answer.truth.video_id, f"video '{answer.truth.video_id}' has no tube: it counts 0")
        for answer in answers
        if answer.tube is None
    ]
    section = tubes_section(answers, others, digest)
    return Within([section], {one.name: one.value for one in section.metrics}, [], missing)


def _write(path: Path, content: dict[str, Any]) -> None:
    from mmn_index.places import aside

    with aside(path) as unfinished:
        try:
            unfinished.write_text(json.dumps(content) + "\n", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror}).") from error

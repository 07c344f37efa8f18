"""The part of `mmn-index eval` that measures a model over tubes within annotated videos."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmn_index.errors import ConfigError, FeatureError, OutputError
from mmn_index.evaluation.benchmarks import Files

from .output import progress, say
from .within import Within

if TYPE_CHECKING:
    from mmn_index.evaluation.tube_answers import TubeAnswer
    from mmn_index.left_out import LeftOut

    from .corpus import Searched


def viou_within(
    checkpoint: Path, files: Files, digest: str, predictions: Path | None, *, device: str, strict: bool
) -> Within:
    """What a model answers, beside chance; videos without a tube count 0.

    Args:
        digest: SHA-256 of the annotations.
        predictions: where to write the answers, in the form of HC-STVG's challenge.
    """
    from mmn_index import checkpoint as checkpoints
    from mmn_index.evaluation.tube_answers import answer_tubes, chances, submission
    from mmn_index.evaluation.tube_truths import read_truths
    from mmn_index.evaluation.tubes_section import tubes_section
    from mmn_index.evaluation.usable_tubes import usable_tubes
    from mmn_index.left_out import refuse
    from mmn_index.tube_file import TubeFile

    truths = read_truths(files.annotations)
    with TubeFile(files.features) as tubes, progress("answering sentences") as report:
        info = checkpoints.info(checkpoint)
        if info.features and tubes.backbone and info.features != tubes.backbone:
            raise ConfigError(
                f"{files.features}: holds features of '{tubes.backbone}', but {checkpoint} was trained on "
                f"'{info.features}'."
            )
        truths, left_out = usable_tubes(truths, tubes)
        if strict:
            refuse(left_out, FeatureError)
        model = checkpoints.load(checkpoint, device)
        truths = truths.worded(model.shortened)
        answers = answer_tubes(model, truths.videos, tubes, report=report)
        others = chances(truths.videos, tubes, model.grid)
    if truths.cut:
        say(truths.cut_remark)
    if predictions is not None:
        _write(predictions, submission(answers))
    section = tubes_section(answers, others, digest)
    values = {one.name: one.value for one in section.metrics}
    return Within([section], values, [], [*left_out, *_without(answers)])


def viou_in_index(
    searched: "Searched", annotations: Path, digest: str, predictions: Path | None, *, strict: bool
) -> Within:
    """What an index of tubes answers, in each sentence's own video and over the collection."""
    from mmn_index.evaluation.corpus_section import collection_name
    from mmn_index.evaluation.tube_answers import chances, submission
    from mmn_index.evaluation.tube_search import IndexTubes, search_tubes
    from mmn_index.evaluation.tube_truths import read_truths
    from mmn_index.evaluation.tubes_section import tube_search_section, tubes_section
    from mmn_index.evaluation.usable_tubes import usable_tubes
    from mmn_index.left_out import refuse

    index = searched.index
    tubes = IndexTubes(index)
    truths, left_out = usable_tubes(read_truths(annotations), tubes)
    if strict:
        refuse(left_out, FeatureError)
    embeddings = searched.embed([truth.sentence for truth in truths.videos])
    with progress("searching") as report:
        found = search_tubes(index, embeddings, truths, searched.score, searched.nms, report=report)
        others = chances(truths.videos, tubes, index.manifest.grid)
    if predictions is not None:
        _write(predictions, submission(found.own))
    over = tube_search_section(found, searched.scored, digest, index.num_moments)
    searched_in = {"collection": collection_name(index.video_ids), "NMS": f"{searched.nms:g}"}
    sections = [
        tubes_section(found.own, others, digest, "this index"),
        replace(over, conditions={**over.conditions, **searched_in}),
    ]
    values = {one.name: one.value for one in sections[0].metrics}
    return Within(sections, values, [], [*left_out, *_without(found.own)])


def _without(answers: "Sequence[TubeAnswer]") -> "list[LeftOut]":
    from mmn_index.left_out import LeftOut

    return [
        LeftOut(answer.truth.name, f"video '{answer.truth.video_id}' has no tube: it counts 0")
        for answer in answers
        if answer.tube is None
    ]


def _write(path: Path, content: dict[str, Any]) -> None:
    from mmn_index.places import aside

    with aside(path) as unfinished:
        try:
            unfinished.write_text(json.dumps(content) + "\n", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror}).") from error

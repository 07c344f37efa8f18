"""Predictions in the submission format of TVR (Lei et al., ECCV 2020): written for other tools, read from
other systems.

    {"video2idx": {video: index}, "SVMR" | "VR" | "VCMR": [{"desc_id", "desc", "predictions": [[index, start,
    end, score], ...]}]}

`desc_id` is the position of a sentence in the annotation file, counted from 0 over all sentences as they are
written, those that the official filter drops included. A list is scored as it stands, up to 100 long: which
NMS it went through is its author's to say.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from reprlib import repr as short
from typing import Any

import torch

from ..errors import AnnotationError, OutputError
from ..readable import reason
from .corpus import DEPTHS, TASKS, Lists
from .queries import Corpus, Queries, normalise
from .recall import Ranked

_LARGEST = float(torch.finfo(torch.float32).max)


def write_predictions(path: Path, lists: Sequence[Lists], queries: Queries, corpus: Corpus) -> None:
    """Write one list of each task.

    Raises:
        OutputError: the file cannot be written.
    """
    content: dict[str, Any] = {"video2idx": corpus.numbers}
    for one in lists:
        content[one.task] = [
            {"desc_id": position, "desc": sentence, "predictions": _rows(ranked)}
            for position, sentence, ranked in zip(
                queries.positions, queries.sentences, one.ranked, strict=True
            )
        ]
    try:
        path.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"{path}: predictions cannot be written ({reason(error)}). Choose another file."
        ) from error


def _rows(ranked: Ranked) -> list[list[float]]:
    # The shortest decimals that are read back as the same float32: a hit is often decided by an IoU of
    # exactly m.
    starts, ends = (
        ranked.spans.numpy().astype(str).astype(float).T.tolist() if len(ranked.spans) else ([], [])
    )
    return [
        list(row) for row in zip(ranked.videos.tolist(), starts, ends, ranked.scores.tolist(), strict=True)
    ]


def read_predictions(
    path: str | os.PathLike[str], queries: Queries, corpus: Corpus, written: int
) -> list[Lists]:
    """Read the lists of a file for all queries of a split.

    Args:
        corpus: the videos of the annotations; the file may have others, which are never right.
        written: sentences of the annotation file, dropped ones included; a list for a dropped one is not
            looked at further.

    Raises:
        AnnotationError: the file is missing, is not of this form, or is not one of these annotations.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise AnnotationError(f"{path}: no such file of predictions.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: cannot be read as JSON ({reason(error)}).") from error
    try:
        _check(isinstance(content, dict), "is no object, expected video2idx and one of SVMR, VR and VCMR")
        numbers = _videos(content.get("video2idx"), corpus)
        tasks = [task for task in TASKS if task in content]
        _check(bool(tasks), f"has none of {', '.join(TASKS)}")
        return [_lists(task, content[task], numbers, queries, written) for task in tasks]
    except ValueError as error:
        raise AnnotationError(f"{path}: {error}.") from error


def _videos(content: Any, corpus: Corpus) -> dict[int, int]:
    """Number in the corpus of each index of the file; videos beyond the corpus get numbers that no
    query has.
    """
    _check(isinstance(content, dict), "video2idx is no object, expected {video: index}")
    for video_id, index in content.items():
        _check(_is_index(index), f"video2idx: '{video_id}' has index {short(index)}, expected an integer")
    _check(len(set(content.values())) == len(content), "video2idx: two videos have the same index")
    missing = [video_id for video_id in corpus.numbers if video_id not in content]
    _check(
        not missing,
        f"video2idx lacks {len(missing)} videos of the annotations, e.g. '{missing[0] if missing else ''}'",
    )
    others = [video_id for video_id in content if video_id not in corpus.numbers]
    numbers = {
        **corpus.numbers,
        **{video_id: len(corpus.numbers) + place for place, video_id in enumerate(others)},
    }
    return {index: numbers[video_id] for video_id, index in content.items()}


def _lists(task: str, content: Any, numbers: Mapping[int, int], queries: Queries, written: int) -> Lists:
    _check(isinstance(content, list), f"{task} is no list")
    wanted = dict(zip(queries.positions, range(len(queries)), strict=True))
    found: dict[int, Ranked] = {}
    given: set[int] = set()
    for place, entry in enumerate(content):
        where = f"{task}, entry {place}"
        _check(isinstance(entry, dict), f"{where} is no object, expected desc_id and predictions")
        position = entry.get("desc_id")
        _check(
            _is_index(position) and 0 <= position < written,
            f"{where}: desc_id is {short(position)}, expected 0 to {written - 1}",
        )
        _check(position not in given, f"{where}: desc_id {position} comes twice")
        given.add(position)
        if position not in wanted:
            continue
        query = wanted[position]
        own = queries.sentences[query]
        said = entry.get("desc", own)
        agrees = isinstance(said, str) and normalise(said) == queries.texts[query]
        _check(agrees, f"{where}: desc_id {position} is {short(said)}, in the annotations it is {short(own)}")
        found[query] = _ranked(entry.get("predictions"), numbers, where)
        if task == "SVMR":  # as in TVR's own evaluation, moments of other videos are passed over
            found[query] = _of_video(found[query], int(queries.videos[query]))
    missing = [position for position, query in wanted.items() if query not in found]
    _check(
        not missing,
        f"{task} lacks {len(missing)} of {len(queries)} sentences, e.g. desc_id "
        f"{missing[0] if missing else ''}",
    )
    return Lists(task, None, [found[query] for query in range(len(queries))])


def _ranked(content: Any, numbers: Mapping[int, int], where: str) -> Ranked:
    _check(isinstance(content, list), f"{where}: predictions are no list")
    rows = content[: DEPTHS[-1]]
    for rank, row in enumerate(rows, 1):
        if not (
            isinstance(row, list) and len(row) == 4 and all(_is_number(x) for x in row) and row[1] <= row[2]
        ):
            raise ValueError(
                f"{where}, rank {rank}: {short(row)}, expected [video index, start, end, score] with start "
                "<= end"
            )
        if row[0] not in numbers:
            raise ValueError(f"{where}, rank {rank}: {row[0]} is no index of video2idx")
    return Ranked(
        torch.tensor([numbers[row[0]] for row in rows], dtype=torch.int64),
        torch.tensor([[float(x) for x in row[1:3]] for row in rows], dtype=torch.float32).reshape(-1, 2),
        torch.tensor([float(row[3]) for row in rows], dtype=torch.float64),
        False,
    )


def _of_video(ranked: Ranked, video: int) -> Ranked:
    own = ranked.videos == video
    return Ranked(ranked.videos[own], ranked.spans[own], ranked.scores[own], ranked.exact)


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)

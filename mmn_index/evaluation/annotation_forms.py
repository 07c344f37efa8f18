"""The forms in which annotations come, read into one: an entry for each video.

    Charades-STA and ActivityNet Captions as json, and TACoS:
        {video: {"duration": seconds, "timestamps": [[start, end], ...], "sentences": [...]}}
        {video: {"fps": ..., "num_frames": ..., "timestamps": in frames, "sentences": [...]}}
    Charades-STA as its authors give it, a list:
        video start end##sentence
    QVHighlights, TVR and VERIFIED's fine-grained sentences (Charades-FIG), a line of json for each sentence:
        {"qid", "query", "duration", "vid", "relevant_windows": [[start, end], ...]}
        {"desc_id", "desc", "duration", "vid_name", "ts": [start, end]}
        {"desc_id", "fig_desc", "duration", "video", "time": [start, end]}
    Relevance feedback (Charades-STA-RF), where some sentences have nothing in their video: {video:
        {"duration": seconds, "sts": [{"sentence", "timestamp": [start, end] or [], "no_answer"}, ...]}}

A list says no durations. A sentence of QVHighlights with several windows is a sentence for each of them; that
they are one is kept (`rows`). One without a moment becomes an empty moment, which readers leave out.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import AnnotationError
from ..readable import reason

_FORMS = (
    "Expected json {video: {duration, timestamps, sentences}}, text with a line `video start end##sentence` "
    "each (Charades-STA), or jsonl of QVHighlights (query, duration, vid, relevant_windows), TVR (desc, "
    "duration, vid_name, ts) or Charades-FIG (fig_desc, duration, video, time)."
)


@dataclass(frozen=True)
class Entries:
    """The content of an annotation file.

    Attributes: videos: an object for each video, as in the json form; unchecked where the file has that
        form. positions: of each video's sentences in the file, where they are not in the order of
        `videos`. written: above every position. lengths: whether the form says how long videos are. rows:
        of each video's sentences, the number of their line, where sentences may share one: they are then
        one sentence with several right moments.
    """

    videos: dict[str, Any]
    positions: dict[str, list[int]] | None = None
    written: int = 0
    lengths: bool = True
    rows: dict[str, list[int]] | None = None


@dataclass(frozen=True)
class _Line:
    """One sentence of a file that has a line for each."""

    number: int  # of the line, from 1
    video_id: str
    sentence: str
    moments: list[list[float]] | None  # None where the file hides them
    duration: float | None  # seconds
    position: int | None  # TVR's desc_id


def read_entries(path: Path, *, moments: bool = True) -> Entries:
    """Read a file of any of the forms.

    Args:
        moments: whether they are needed; test splits of QVHighlights and TVR have none.

    Raises:
        AnnotationError: it is missing or has none of the forms; the message names a broken line's number.
    """
    text = _text(path)
    first = next((line for _, line in _lines(text)), "")
    if _is_row(first):
        return _collect(path, [_row(path, number, line) for number, line in _lines(text)], moments)
    if "##" in first and not first.lstrip().startswith(("{", "[")):
        return _collect(path, [_listed(path, number, line) for number, line in _lines(text)], moments)
    return Entries({video: _feedback(path, video, entry) for video, entry in _parse(path, text).items()})


def read_json(path: Path) -> dict[str, Any]:
    """An object with an entry a video.

    Raises:
        AnnotationError: the file is missing, is something else, or has two entries of one name.
    """
    return _parse(path, _text(path))


def is_list(text: str) -> bool:
    """Whether a text is a Charades-STA list, by its first line.

    >>> is_list("AO8RW 0.0 6.9##a person is putting a book on a shelf."), is_list("a person opens a door")
    (True, False)
    """
    head, found, _ = next((line for _, line in _lines(text)), "").partition("##")
    return bool(found) and all(_number(x) is not None for x in head.split()[-2:]) and len(head.split()) > 2


def _text(path: Path) -> str:
    if not path.exists():
        raise AnnotationError(f"{path}: no such annotation file.")
    try:
        return path.read_text(encoding="utf-8-sig")
    except (ValueError, OSError) as error:
        raise AnnotationError(f"{path}: cannot be read ({reason(error)}).") from error


def _parse(path: Path, text: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            seen: set[str] = set()
            twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            raise ValueError(f"'{twice}' appears twice")
        return found

    if not text.lstrip().startswith(("{", "[")):
        what = "is in none of the forms that are read" if text.strip() else "is empty"
        table = path.suffix.lower() in (".csv", ".tsv")
        how = " docs/training.md shows how a table is converted." if table else ""
        raise AnnotationError(f"{path}: {what}. {_FORMS}{how}")
    try:
        content = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: cannot be read as JSON ({error}). {_FORMS}") from error
    if not isinstance(content, dict) or not content:
        found = "an empty one" if content == {} else type(content).__name__
        raise AnnotationError(f"{path}: expected an object with one entry a video, found {found}. {_FORMS}")
    return content


def _lines(text: str) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())


def _is_row(line: str) -> bool:
    """Whether a line is an object that names its video, as in QVHighlights and TVR."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(row, dict) and any(isinstance(row.get(name), str) for name, *_ in _ROWS)


# Names of a line's video, sentence and moment: QVHighlights, which has several moments, TVR, VERIFIED.
_ROWS = (
    ("vid", "query", "relevant_windows"),
    ("vid_name", "desc", "ts"),
    ("video", "fig_desc", "time"),
)


def _row(path: Path, number: int, line: str) -> _Line:
    """A line of one of the forms that have an object for each sentence."""
    try:
        row = json.loads(line)
        if not isinstance(row, dict):
            raise ValueError(f"is {row!r:.40}, not an object")
        video, text, moment = next((names for names in reversed(_ROWS) if names[0] in row), _ROWS[0])
        single = moment != "relevant_windows"
        video_id, sentence = _string(row, video), _string(row, text)
        duration = _number(row.get("duration"))
        if duration is None or duration <= 0:
            raise ValueError(f"duration is {row.get('duration')!r:.40}, expected seconds")
        found = row.get(moment)
        if found is not None:
            found = [_moment(one) for one in ([found] if single else _list(found))]
        position = row.get("desc_id")
        known = isinstance(position, int) and not isinstance(position, bool) and position >= 0
        return _Line(number, video_id, sentence, found, duration, position if single and known else None)
    except (ValueError, RecursionError) as error:
        raise AnnotationError(
            f"{path}: line {number}: {error}. Expected query, duration, vid and relevant_windows as in "
            "QVHighlights, desc, duration, vid_name and ts as in TVR, or fig_desc, duration, video and time "
            "as in Charades-FIG."
        ) from error


def _listed(path: Path, number: int, line: str) -> _Line:
    """A line of Charades-STA's own files."""
    head, separator, sentence = line.partition("##")
    parts = head.rsplit(maxsplit=2)
    times = [_number(part) for part in parts[1:]]
    if not separator or len(parts) < 3 or None in times or not sentence.strip():
        raise AnnotationError(
            f"{path}: line {number}: is {line.strip()!r:.60}, expected `video start end##sentence` with "
            "times in seconds."
        )
    moment = [time for time in times if time is not None]
    return _Line(number, parts[0].strip(), sentence.strip(), [moment], None, None)


def _collect(path: Path, lines: list[_Line], needed: bool) -> Entries:
    """Lines by video."""
    ids = [line.position for line in lines]
    own = None not in ids and len(set(ids)) == len(ids)  # TVR's, by which predictions name sentences
    videos: dict[str, Any] = {}
    positions: dict[str, list[int]] = {}
    rows: dict[str, list[int]] = {}
    written = 0
    for line in lines:
        if line.moments is None and needed:
            raise AnnotationError(
                f"{path}: line {line.number}: says of no moment (relevant_windows or ts), as test splits do "
                "whose answers are hidden. It can name videos (--videos), nothing else."
            )
        entry = videos.setdefault(line.video_id, {"timestamps": [], "sentences": []})
        if line.duration is not None:
            before = entry.setdefault("duration", line.duration)
            if abs(before - line.duration) > 0.1 * max(before, line.duration):
                raise AnnotationError(
                    f"{path}: line {line.number}: '{line.video_id}' lasts {line.duration:g} seconds, an "
                    f"earlier line says {before:g}."
                )
        for moment in line.moments or [[0.0, 0.0]]:  # no window: empty, left out as empty moments are
            entry["timestamps"].append(moment)
            entry["sentences"].append(line.sentence)
            number = line.position if own and line.position is not None else written
            positions.setdefault(line.video_id, []).append(number)
            rows.setdefault(line.video_id, []).append(line.number)
            written = max(written + 1, number + 1) if own else written + 1
    said = any(line.duration is not None for line in lines)
    return Entries(videos, positions, written, lengths=said, rows=rows)


def _feedback(path: Path, video_id: str, entry: Any) -> Any:
    """An entry with relevance feedback in the json form, any other as it is."""
    if not (isinstance(entry, dict) and "sts" in entry):
        return entry
    try:
        moments, sentences = [], []
        for number, one in enumerate(_list(entry["sts"], "sts")):
            if not isinstance(one, dict):
                raise ValueError(f"sts, entry {number} is {one!r:.40}, not an object")
            sentences.append(_string(one, "sentence"))
            moments.append([0.0, 0.0] if one.get("no_answer") is True else _moment(one.get("timestamp")))
        return {"duration": entry.get("duration"), "timestamps": moments, "sentences": sentences}
    except ValueError as error:
        raise AnnotationError(
            f"{path}: video '{video_id}': {error}. Expected duration and sts [{{sentence, timestamp, "
            "no_answer}}, ...], with no_answer true where the video has nothing of the sentence."
        ) from error


def _string(row: dict[str, Any], name: str) -> str:
    if not (isinstance(row.get(name), str) and row[name].strip()):
        raise ValueError(f"{name} is {row.get(name)!r:.40}, expected text")
    return str(row[name])


def _list(value: Any, name: str = "relevant_windows") -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{name} is {value!r:.40}, expected a list")
    return value


def _moment(value: Any) -> list[float]:
    times = [_number(x) for x in value] if isinstance(value, list) else []
    if len(times) != 2 or None in times:
        raise ValueError(f"a moment is {value!r:.40}, expected [start, end] in seconds")
    return [time for time in times if time is not None]


def _number(value: Any) -> float | None:
    """A finite number, of a number or of text that is one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None

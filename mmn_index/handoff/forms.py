"""Moments as text for other programs, in each of the forms that the command and the server write.

What writes a form is imported when it is needed: the command reads the names of the forms at its start.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .names import numbered, safe

if TYPE_CHECKING:
    from .excerpt import Excerpt, Take
    from .timeline import Timeline

ROWS = ("csv", "json", "jsonl")
SUBTITLES = ("srt", "vtt")
TIMELINES = ("edl", "otio", "fcpxml")
FORMS = (*ROWS, *SUBTITLES, *TIMELINES)


def rows_as(form: str, rows: Sequence[dict[str, Any]]) -> str:
    """Rows as one of ROWS."""
    from . import records

    as_text = {"csv": records.as_csv, "json": records.as_json, "jsonl": records.as_json_lines}[form]
    return as_text(rows)


def subtitles_as(form: str, found: "Sequence[Excerpt]") -> str:
    """Moments of one video as one of SUBTITLES."""
    from .subtitles import as_srt, as_vtt

    return as_srt(found) if form == "srt" else as_vtt(found)


def by_video(found: "Sequence[Excerpt]") -> "dict[str, list[Excerpt]]":
    """Moments by the id of their video."""
    videos: dict[str, list[Excerpt]] = {}
    for one in found:
        videos.setdefault(one.video_id, []).append(one)
    return videos


def subtitle_files(form: str, found: "Sequence[Excerpt]") -> dict[str, str]:
    """A file for each video: its name, without folders, and its text."""
    videos = by_video(found)
    files: dict[str, str] = {}
    names: set[str] = set()
    for video_id, own in sorted(videos.items()):
        tries = (numbered(f"{safe(video_id)}.{form}", n) for n in range(1, len(videos) + 1))
        name = next(name for name in tries if name.casefold() not in names)
        names.add(name.casefold())
        files[name] = subtitles_as(form, own)
    return files


def timeline_as(form: str, timeline: "Timeline") -> str:
    """A time line as one of TIMELINES.

    Raises:
        DependencyError: OpenTimelineIO is not installed.
    """
    from .edl import as_edl
    from .fcpxml import as_fcpxml
    from .otio import as_otio

    return {"edl": as_edl, "fcpxml": as_fcpxml, "otio": as_otio}[form](timeline)


def laid_out(chosen: "Sequence[Take]", queries: Sequence[str]) -> "Timeline":
    """Moments on a time line, which is called by their query where there is one."""
    from .timeline import lay_out

    return lay_out(chosen, queries[0] if len(queries) == 1 else "mmn-index")

"""Moments that a caller names, as a file: the formats of `mmn-index export`, or a zip of clips."""

import asyncio
import io
import time
import zipfile
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import quote

from fastapi import Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from ..errors import DependencyError, VideoError
from ..handoff.clips import folder_of
from ..handoff.excerpt import Excerpt, Take, media_of
from ..handoff.forms import ROWS, SUBTITLES, laid_out, rows_as, subtitle_files, subtitles_as, timeline_as
from ..handoff.names import clip_name, numbered, one_line, safe
from ..handoff.otio import check_installed
from ..handoff.records import row_of
from ..index.store import IndexedVideo
from ..readable import clock
from ..video.browser import sentence
from ..video.opening import checked
from .clips import HEIGHTS, Clips, Made, Part
from .files import file_of, number_of
from .library import Opened
from .pool import Pool, Watch
from .problems import RequestError
from .settings import Settings
from .wire import ExportRequest

_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "jsonl": "application/jsonl",
    "srt": "application/x-subrip",
    "vtt": "text/vtt; charset=utf-8",
    "edl": "text/plain; charset=utf-8",
    "otio": "application/json",
    "fcpxml": "application/xml",
}
_ZIP = "application/zip"
_ROUNDING = 0.001  # seconds that a time may be off, as times are sent with three places
_FINE = 18  # of clips that are kept, as x264 counts
_LEFT_OUT = "left-out.txt"
_PIECE = 1 << 20  # bytes
_PAUSES = (1, 2, 4, 8, 16)  # seconds between tries while the server is busy


async def export(
    asked: ExportRequest, opened: Opened, settings: Settings, clips: Clips, looks: Pool
) -> Response:
    """A file that holds some moments.

    Raises:
        RequestError: 404, an unknown video; 422, more than the server allows, times that cannot be, or
            nothing that can be read; 503, too much waits.
    """
    most = settings.max_export_clips if asked.format == "clips" else settings.max_export
    if len(asked.moments) > most:
        raise RequestError(
            422, f"moments: {len(asked.moments):,} moments, this server hands on {most:,} as {asked.format}."
        )
    if asked.padding and asked.format != "clips":
        raise RequestError(422, "padding: is for the format clips.")
    if asked.format == "clips":
        found = await looks.run(lambda watch: _excerpts(asked, opened))
        return await _zip_of_clips(found, asked.padding, opened, clips)

    def written(watch: Watch) -> tuple[str | dict[str, str], int]:
        with checked(watch.check):
            return _written(asked, opened, _excerpts(asked, opened))

    text, left_out = await looks.run(written)
    name = _title(asked)
    headers = {"X-Left-Out": str(left_out)}
    if isinstance(text, dict):
        content, kind, name = _zipped(text), _ZIP, f"{name}-{asked.format}.zip"
    else:
        content, kind, name = _bytes(text), _TYPES[asked.format], f"{name}.{asked.format}"
    return Response(content, media_type=kind, headers=headers | attachment(name))


def attachment(name: str, how: str = "attachment") -> dict[str, str]:
    """The header that names a file, for browsers of any age (RFC 6266).

    Args:
        name: letters, digits, dots, underscores and dashes, as `handoff.names.safe` gives.
    """
    plain = "".join(c if c.isascii() else "_" for c in name)
    return {"Content-Disposition": f"{how}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"}


def _title(asked: ExportRequest) -> str:
    """Of the file: the sentence, where there is one."""
    texts = {moment.text for moment in asked.moments}
    return safe(texts.pop()) if len(texts) == 1 and any(texts) else "moments"


def _excerpts(asked: ExportRequest, opened: Opened) -> list[Excerpt]:
    """The moments, within their videos."""
    numbers: dict[str, int] = {}
    ranks: Counter[str] = Counter()
    videos: dict[str, IndexedVideo] = {}
    found = []
    for place, one in enumerate(asked.moments):
        if one.video not in videos:
            videos[one.video] = opened.index.video(number_of(opened, one.video))
        video = videos[one.video]
        if one.end <= one.start:
            raise RequestError(422, f"moments.{place}.end: {one.end:g} s is not after {one.start:g} s.")
        if one.start >= video.duration:
            raise RequestError(
                422,
                f"moments.{place}.start: {clock(one.start)}, but '{one.video}' ends at "
                f"{clock(video.duration)}.",
            )
        end = one.end if one.end <= video.duration + _ROUNDING else video.duration
        number = numbers.setdefault(one.text, len(numbers) + 1)
        ranks[one.text] += 1
        rank = ranks[one.text] if one.rank is None else one.rank
        found.append(Excerpt(one.text, rank, one.video, video.uri, one.start, end, number))
    return found


def _written(asked: ExportRequest, opened: Opened, found: list[Excerpt]) -> tuple[str | dict[str, str], int]:
    """The text, or several by their names; and how many moments are not in it."""
    form = asked.format
    if form in ROWS:
        rows = [
            row_of(
                excerpt,
                score=one.score,
                score_name=asked.score_name,
                confidence=one.confidence,
                exact=one.exact,
                recall=one.recall,
                tube=one.tube,
            )
            for excerpt, one in zip(found, asked.moments, strict=True)
        ]
        return rows_as(form, rows), 0
    if form in SUBTITLES:
        files = subtitle_files(form, found)
        return (subtitles_as(form, found) if len(files) == 1 else files), 0
    if form == "otio":
        try:
            check_installed()
        except DependencyError as error:
            raise RequestError(422, f"format: {error}") from error
    chosen, left_out = _takes(opened, found)
    if not chosen:
        raise RequestError(422, left_out[0])
    texts = list(dict.fromkeys(excerpt.query for excerpt in found if excerpt.query))
    return timeline_as(form, laid_out(chosen, texts)), len(left_out)


def _takes(opened: Opened, found: list[Excerpt]) -> tuple[list[Take], list[str]]:
    """The moments whose files can be read, and why others cannot."""
    chosen, left_out = [], []
    for one in found:
        try:
            path = file_of(opened, one.video_id)
            chosen.append(Take(one, media_of(one)))
        except RequestError as error:
            left_out.append(error.detail)
        except VideoError as error:
            left_out.append(f"'{one.video_id}': {sentence(error, path)}")
    return chosen, left_out


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", errors="backslashreplace")


class _Sink(io.RawIOBase):
    """What a zip is written to before it is sent."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        """What was written since."""
        found = b"".join(self._parts)
        self._parts.clear()
        return found


def _zipped(files: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, _bytes(text))
    return out.getvalue()


@dataclass(frozen=True)
class _Wanted:
    name: str
    part: Part


def _wanted(found: list[Excerpt], padding: float, opened: Opened, clips: Clips) -> list[_Wanted]:
    """Which clips, under names of which no two are one."""
    several = len({one.number for one in found}) > 1
    digits = max(2, *(len(str(one.rank)) for one in found))
    names: set[str] = set()
    wanted = []
    for one in found:
        duration = opened.index.video(number_of(opened, one.video_id)).duration
        start, end = max(0.0, one.start - padding), max(one.end, min(one.end + padding, duration))
        part = Part(one.video_id, start, end, HEIGHTS[1], _FINE)
        clips.check(part)
        own = clip_name(one.rank, digits, one.video_id, start, end, ".mp4")
        folder = f"{folder_of(one)}/" if several else ""
        tries = (folder + numbered(own, n) for n in count(1))
        name = next(name for name in tries if name.casefold() not in names)
        names.add(name.casefold())
        wanted.append(_Wanted(name, part))
    return wanted


async def _zip_of_clips(found: list[Excerpt], padding: float, opened: Opened, clips: Clips) -> Response:
    """Clips one after another, each sent when it is made. The first one is waited for, so that what cannot be
    is said before anything is sent; later ones that cannot be made are listed in the zip.
    """
    wanted = await asyncio.to_thread(_wanted, found, padding, opened, clips)
    left_out: list[RequestError] = []
    for place, first in enumerate(wanted):
        try:
            made = await clips.clip(opened, first.part)
        except RequestError as error:
            if error.retry is not None:
                raise
            left_out.append(error)
            continue
        parts = _sent(first.name, made, wanted[place + 1 :], opened, clips, left_out)
        name = "moments" if len({one.query for one in found}) > 1 else safe(found[0].query or "moments")
        return _ZipResponse(parts, made, name)
    raise left_out[0]


class _ZipResponse(StreamingResponse):
    """A zip that is made while it is sent."""

    def __init__(self, parts: AsyncGenerator[bytes], first: Made, name: str) -> None:
        self._parts, self._first = parts, first
        super().__init__(parts, media_type=_ZIP, headers=attachment(f"{name}.zip"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._parts.aclose()
            self._first.file.close()


async def _sent(
    name: str,
    made: Made,
    others: list[_Wanted],
    opened: Opened,
    clips: Clips,
    left_out: list[RequestError],
) -> AsyncGenerator[bytes]:
    """The bytes of a zip."""
    sink = _Sink()
    archive = zipfile.ZipFile(sink, "w")
    async for piece in _packed(archive, sink, name, made):
        yield piece
    for one in others:
        try:
            following = await _patiently(lambda part=one.part: clips.clip(opened, part))  # type: ignore[misc]
        except RequestError as error:
            left_out.append(error)
            continue
        async for piece in _packed(archive, sink, one.name, following):
            yield piece
    if left_out:
        archive.writestr(_LEFT_OUT, "".join(f"{one_line(error.detail)}\n" for error in left_out))
    archive.close()
    yield sink.taken()


async def _packed(archive: zipfile.ZipFile, sink: _Sink, name: str, made: Made) -> AsyncGenerator[bytes]:
    info = zipfile.ZipInfo(name, time.localtime()[:6])
    info.external_attr = 0o644 << 16
    with made.file as file, archive.open(info, "w") as member:
        while data := await asyncio.to_thread(file.read, _PIECE):
            member.write(data)
            yield sink.taken()


async def _patiently(make: Callable[[], Coroutine[Any, Any, Made]]) -> Made:
    """A clip, also where the server is busy just now."""
    for pause in _PAUSES:
        try:
            return await make()
        except RequestError as error:
            if error.status != 503:
                raise
        await asyncio.sleep(pause)
    return await make()

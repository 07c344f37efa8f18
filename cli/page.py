"""One self-contained page for one answer: pictures of each moment, where it lies in its video, and the
query's 2D score map.

No script and nothing from the network; every picture is inside the file.
"""

import base64
import io
import math
import os
from html import escape
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from mmn_index.errors import OutputError, VideoError
from mmn_index.index import MomentIndex, MomentTube
from mmn_index.moment_model import MomentModel
from mmn_index.origin import MOVED, path_of
from mmn_index.proposals import ProposalGrid
from mmn_index.readable import counted
from mmn_index.scoring import Score
from mmn_index.search import Answer, Hit, score_map
from mmn_index.windows import Window

from .output import clock, printable

_PICTURES = 6  # of a moment
_HEIGHT = 160  # pixels of a picture
_CELL = 6  # pixels of a proposal in the score map
# Dark to bright with evenly rising lightness, so that the map reads in grey as well.
_COLOURS = np.array(
    [
        (24, 15, 62),
        (70, 28, 110),
        (130, 38, 110),
        (187, 55, 84),
        (232, 104, 48),
        (251, 174, 30),
        (252, 245, 160),
    ]
)

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1b22; --soft: #6b6975; --paper: #fbfaf7; --card: #ffffff;
        --line: #e2dfd8; --mark: #d9480f; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ecebf0; --soft: #a09eab; --paper: #17161b; --card: #211f27;
          --line: #37343f; --mark: #ff8a4c; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.25rem; max-width: 66rem; background: var(--paper); color: var(--ink);
       font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.9rem; line-height: 1.2; text-wrap: balance; }
.about { margin: .4rem 0 2rem; color: var(--soft); }
article { display: grid; grid-template-columns: minmax(0, 1fr) auto; align-items: center;
          gap: 1rem 1.5rem; margin-bottom: 1.25rem; padding: 1.1rem 1.25rem;
          background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
h2 { margin: 0 0 .6rem; font-size: 1.05rem; font-weight: 600; display: flex; flex-wrap: wrap; gap: .2rem 1rem;
     align-items: baseline; }
h2 .rank { color: var(--mark); }
h2 .score { margin-left: auto; color: var(--soft); font-weight: 400; font-size: .92rem; }
h2 a { color: inherit; }
time { font-variant-numeric: tabular-nums; }
.strip { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr));
         gap: 3px; overflow: hidden; border-radius: 6px; }
.strip img { width: 100%; display: block; }
.none { color: var(--soft); font-size: .92rem; overflow-wrap: anywhere; }
.line { position: relative; height: 10px; margin: .8rem 0 .2rem;
        background: var(--line); border-radius: 5px; }
.line span { position: absolute; top: -3px; height: 16px; min-width: 4px;
             background: var(--mark); border-radius: 4px; }
.ends { display: flex; justify-content: space-between; color: var(--soft); font-size: .8rem;
        font-variant-numeric: tabular-nums; }
figure { margin: 0; width: 13.5rem; }
figure svg { display: block; width: 100%; height: auto; border-radius: 4px; }
figcaption { color: var(--soft); font-size: .78rem; line-height: 1.35; margin-top: .35rem; }
@media (max-width: 46rem) { article { grid-template-columns: minmax(0, 1fr); }
                            figure { width: min(100%, 16rem); } }
"""


def write_page(path: Path, index: MomentIndex, model: MomentModel, answer: Answer, score: Score) -> list[str]:
    """Write the page of an answer.

    Returns:
        Why moments have no pictures: a sentence for each that has none.

    Raises:
        OutputError: the file cannot be written.
    """
    found = (
        f"{counted(len(answer.hits), 'moment')}, from an index of {counted(len(index.video_ids), 'video')}"
        if answer.hits
        else "No moment found"
    )
    proof = (
        f"proven to be the exact best of {answer.moments:,} moments" if answer.exact else "not proven exact"
    )
    with torch.inference_mode():
        query = model.embed_sentences([answer.query])
    count = len(model.grid)
    cards, lacking = [], []
    for hit in answer.hits:
        uri = index.video(hit.video).uri
        file = path_of(uri) if uri else None
        strip, why = _strip(file, hit, index.rows.tube(hit.row))
        cells = score_map(index, model.grid, query, hit.row // count, score)
        cards.append(_card(index, hit, file, strip, cells))
        lacking += [why] if why else []
    page = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, '
        f'initial-scale=1">\n<title>{_text(answer.query)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{_text(answer.query)}</h1>\n"
        f'<p class="about">{found}, {proof}. Score: {escape(score.name)}.<br>'
        "The map beside a moment shows the score of every proposal of its video, or of the window of a long "
        "video, down by where the proposal begins and right by "
        "where it ends; brighter is better, and the moment itself is "
        f"framed.{_tubes_too(index)}</p>\n{''.join(cards)}</body>\n</html>\n"
    )
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}).") from error
    return lacking


def _tubes_too(index: MomentIndex) -> str:
    return " The frame in a picture is the person that the moment is of." if index.manifest.tubes else ""


def _card(index: MomentIndex, hit: Hit, path: Path | None, strip: str, cells: np.ndarray) -> str:
    video = index.video(hit.video)
    times = f"<time>{clock(hit.start)}</time> to <time>{clock(hit.end)}</time>"
    name = _text(hit.video_id)
    if path and os.path.isfile(path):
        at = f"{path.absolute().as_uri()}#t={hit.start:.1f},{hit.end:.1f}"
        name = f'<a href="{escape(at)}">{name}</a>'
    sure = "" if hit.confidence is None else f"right with probability {hit.confidence:.2f} &middot; "
    times += "" if hit.tube is None else f" &middot; tube {hit.tube}"
    left, width = 100 * hit.start / video.duration, 100 * (hit.end - hit.start) / video.duration
    return (
        f'<article>\n<div>\n<h2><span class="rank">{hit.rank}</span><span>{name}</span><span>{times}</span>'
        f'<span class="score">{sure}{hit.score:.3f}</span></h2>\n{strip}\n'
        f'<div class="line" role="img" aria-label="The moment within the video">'
        f'<span style="left:{left:.2f}%;width:{width:.2f}%"></span></div>\n'
        f'<div class="ends"><span>{clock(0)}</span><span>{clock(video.duration)}</span></div>\n</div>\n'
        f"{_map(cells, index.manifest.grid, hit, index.rows.window_of(hit.row))}\n</article>\n"
    )


def _text(text: str) -> str:
    """Of strangers, for a page."""
    return escape(printable(text))


def _strip(path: Path | None, hit: Hit, tube: MomentTube | None) -> tuple[str, str]:
    """Pictures of the moment, evenly spaced, with the boxes of its tube, and ""; or a line that says why
    there are none, and why.
    """
    from mmn_index.video.thumbnails import thumbnails

    if path is None:
        why = f"the features do not say which file '{hit.video_id}' is."
        return f'<p class="none">No pictures: {_text(why)}</p>', why
    times = picture_times(hit.start, hit.end, None if tube is None else tube.rate)
    try:
        pictures = thumbnails(path, times, _HEIGHT)
    except (VideoError, OSError) as error:
        why = str(error) if os.path.exists(path) else f"{error} {MOVED}"
        return f'<p class="none">No pictures: {_text(why)}</p>', why
    tags = []
    for time, picture in zip(times, pictures, strict=True):
        buffer, shown = io.BytesIO(), Image.fromarray(picture)
        if tube is not None:
            _frame(shown, tube, time)
        shown.save(buffer, "JPEG", quality=85)
        tags.append(f'<img alt="" src="{_data(buffer, "image/jpeg")}">')
    return f'<div class="strip">{"".join(tags)}</div>', ""


def picture_times(start: float, end: float, rate: float | None) -> list[float]:
    """Seconds of the pictures of a moment; of a tube with `rate` frames a second in the middle of frames: on
    the edge of two, picture and box could be of different ones.
    """
    times = [start + (end - start) * (n + 0.5) / _PICTURES for n in range(_PICTURES)]
    return times if rate is None else [(math.floor(time * rate) + 0.5) / rate for time in times]


def _frame(picture: Image.Image, tube: MomentTube, time: float) -> None:
    """Draw the box of a second."""
    place = math.floor(time * tube.rate) + 1 - tube.tube.first
    if not 0 <= place < len(tube.tube):
        return
    scale = picture.width / tube.width, picture.height / tube.height
    box = [x * side for x, side in zip(tube.tube.boxes[place].tolist(), (*scale, *scale), strict=True)]
    pen = ImageDraw.Draw(picture)
    for grown, colour in ((1, "#0a0c10"), (0, "#ffd43b")):
        pen.rectangle(
            [box[0] - grown, box[1] - grown, box[2] + grown, box[3] + grown], outline=colour, width=2
        )


def _map(cells: np.ndarray, grid: ProposalGrid, hit: Hit, window: Window) -> str:
    """The 2D map as a picture; rows are where a proposal begins, columns where it ends, and the hit is
    framed.
    """
    count = len(cells)
    known = np.isfinite(cells)
    # Colours follow the rank of a score in the map: scores of log form have long tails that would hide the
    # rest.
    levels = np.zeros(cells.shape)
    levels[known] = np.argsort(np.argsort(cells[known])) / max(1, known.sum() - 1)
    place = levels**2 * (len(_COLOURS) - 1)
    low = np.minimum(place.astype(int), len(_COLOURS) - 2)
    colours = _COLOURS[low] + (place - low)[..., None] * (_COLOURS[low + 1] - _COLOURS[low])
    alpha = np.where(known, 255, 0)[..., None]
    picture = Image.fromarray(np.concatenate([colours, alpha], axis=2).round().astype(np.uint8), "RGBA")
    buffer = io.BytesIO()
    picture.resize((count * _CELL, count * _CELL), Image.Resampling.NEAREST).save(buffer, "PNG")
    side = count * _CELL
    row, column = grid.cells[hit.row % len(grid)].tolist()
    begin = f"from {clock(window.start)}, " if window.start else ""
    return (
        f'<figure><svg viewBox="0 0 {side} {side}" role="img" aria-label="Score of every proposal of the '
        'video">'
        f'<image href="{_data(buffer, "image/png")}" width="{side}" height="{side}" '
        'style="image-rendering:pixelated"/>'
        f'<rect x="{column * _CELL - 1}" y="{row * _CELL - 1}" width="{_CELL + 2}" height="{_CELL + 2}" '
        'fill="none" '
        f'stroke="var(--mark)" stroke-width="2"/></svg>'
        f"<figcaption>{begin}ends &rarr; {clock(window.start + window.length)}, begins &darr;</figcaption>"
        "</figure>"
    )


def _data(buffer: io.BytesIO, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"

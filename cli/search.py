"""mmn-index search: sentences to ranked moments."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .build import index_option
from .hits import nothing, print_hits, print_pairs, show_hits, show_pairs
from .output import say
from .player import play
from .sentences import fitting_lines, read_lines
from .stopwatch import Stopwatch

if TYPE_CHECKING:
    from mmn_index.index import MomentIndex
    from mmn_index.moment_model import MomentModel
    from mmn_index.scoring import Score
    from mmn_index.search import Answer, Hit, SearchOptions
    from mmn_index.search.pairs import Pair


@click.command()
@click.argument("query", required=False)
@index_option
@click.option("-k", type=int, default=10, show_default=True, help="How many moments.")
@click.option(
    "--nms",
    type=float,
    default=0.5,
    show_default=True,
    help="Drop the worse of two moments of a video whose temporal IoU is above this; 1 drops none.",
)
@click.option("--score", help="collection, product, contrastive or iou.  [default: the index's]")
@click.option(
    "--hub",
    type=float,
    help="How far moments similar to every sentence are ranked lower, 0 (not at all) to 1.  [default: the "
    "index's]",
)
@click.option("--per-video", type=int, help="At most this many moments per video.")
@click.option("--video", "videos", multiple=True, help="Only in this video (its id); may be repeated.")
@click.option("--exclude", multiple=True, help="Not in this video; may be repeated.")
@click.option(
    "--where",
    multiple=True,
    help='Only in videos whose metadata fit, e.g. camera=porch or "recorded>=2026-01-01"; may be repeated.',
)
@click.option("--after", type=float, help="Moments that start then or later, in seconds of their video.")
@click.option("--before", type=float, help="Moments that end then or earlier.")
@click.option("--min-length", type=float, help="Seconds.")
@click.option("--max-length", type=float, help="Seconds.")
@click.option("--not", "without", help="A second sentence: moments that fit QUERY rather than this.")
@click.option("--and", "also", help="Videos with a moment of QUERY and one of this sentence.")
@click.option("--then", help="Videos with a moment of QUERY and after it one of this sentence.")
@click.option(
    "--like",
    help="Moments like one of the index, in place of QUERY: VIDEO@START-END, e.g. porch/cam1@12.0-18.5.",
)
@click.option(
    "--queries",
    type=click.Path(path_type=Path, allow_dash=True),
    help="A file with one sentence per line (- for stdin), in place of QUERY.",
)
@click.option(
    "--min-confidence",
    type=float,
    help="Only moments with at least this confidence, 0 to 1; none where nothing fits. Needs a calibrated "
    "index.",
)
@click.option("--exact", is_flag=True, help="Scan everything, also where there is a candidate index.")
@click.option(
    "--timeout", type=float, help="Give up after this many seconds, counted from the start of the command."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a page with pictures of the moments.",
)
@click.option(
    "--open",
    "playing",
    is_flag=True,
    help="Play the first moment from its start, with mpv, vlc or ffplay, or the one that the variable "
    "MMN_PLAYER names.",
)
@click.option(
    "--model",
    "text_side",
    type=click.Path(path_type=Path),
    help="Embed sentences with this checkpoint, whose video side is the index's, such as `tune-text` makes.",
)
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    help="Where the text encoder and scans run; cuda scans on all GPUs.",
)
def search(
    query: str | None,
    root: Path,
    queries: Path | None,
    html: Path | None,
    playing: bool,
    device: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Find the moments that QUERY describes, across all videos of an index.

    \b
    Example:
        mmn-index search "person opens door"
        mmn-index search "person opens door" --open
        mmn-index search "person opens door" --not "person closes door" --per-video 1
        mmn-index search "person opens door" --then "person sits down" --where camera=porch
        mmn-index search --like porch/cam1@12.0-18.5 --json
        mmn-index search --queries sentences.txt --json
    """
    from mmn_index.index import MomentIndex
    from mmn_index.places import check_file

    stopwatch = click.get_current_context().ensure_object(Stopwatch)
    stopwatch.lap("to start")
    asked = Asked(**{field.name: options.pop(field.name) for field in fields(Asked)})
    _check_usage(query, queries, html, asked, playing)
    if html:
        check_file(html, regular=False)
    sentences = [query] if query is not None else read_lines(queries) if queries else []
    if queries:
        stopwatch.lap("to read the sentences")
    index = MomentIndex(root, device)
    chosen = index.manifest.with_score(asked.score, asked.hub)
    made = _options(index, calibrated=asked.text_side is None, **options)
    made = replace(made, spent=stopwatch.lap("to open the index"))
    model = None
    if asked.like is None:
        model = _model(index, asked.text_side, device, made)
        made = replace(made, spent=stopwatch.lap("to load the model"))
    if model is not None and queries is not None:
        sentences = fitting_lines(sentences, model, str(queries))
    if model is not None and (asked.also is not None or asked.then is not None):
        pairs = _pairs(index, model, sentences[0], asked, chosen, made, as_json)
        if playing:
            _open(index, pairs[:1])
        return
    answers = _answers(index, model, sentences, asked, made)
    _print(index, answers, chosen.name, made, as_json, several=queries is not None)
    if html and model is not None:
        from .page import write_page

        write_page(html, index, model, answers[0], chosen)
        say(f"{html}: open it in a browser.")
    if playing:
        _open(index, answers[0].hits[:1])


@dataclass(frozen=True)
class Asked:
    """What to look for and by which score, as the options say it."""

    like: str | None
    without: str | None
    also: str | None
    then: str | None
    text_side: Path | None
    score: str | None
    hub: float | None


def _check_usage(
    query: str | None, queries: Path | None, html: Path | None, asked: Asked, playing: bool
) -> None:
    """Refuse options that do not go together."""
    more = sum(x is not None for x in (asked.without, asked.also, asked.then))
    if sum(x is not None for x in (query, queries, asked.like)) != 1:
        raise click.UsageError("Give one of QUERY, --queries and --like.", click.get_current_context())
    if more > (0 if asked.like or queries else 1):
        raise click.UsageError(
            "--not, --and and --then go with one QUERY, one of them at a time.", click.get_current_context()
        )
    if asked.like is not None and asked.text_side is not None:
        raise click.UsageError(
            "--model embeds sentences, and --like has no sentence: leave out one of them.",
            click.get_current_context(),
        )
    if html and (queries or asked.also or asked.then):
        raise click.UsageError("--html shows the moments of one QUERY.", click.get_current_context())
    if html and asked.like is not None:
        raise click.UsageError("--html needs a QUERY.", click.get_current_context())
    if playing and queries:
        raise click.UsageError("--open plays the first moment of one QUERY.", click.get_current_context())


def _model(
    index: "MomentIndex", text_side: Path | None, device: str, options: "SearchOptions"
) -> "MomentModel":
    """What embeds sentences: the index's own model, or another text side of it; not if the time is over."""
    from mmn_index import checkpoint
    from mmn_index.index.scan import Deadline
    from mmn_index.models import load_model, model_info

    if text_side is not None:
        index.check_video_side(checkpoint.info(text_side))
    else:
        index.check_model(model_info(index.model_path).fingerprint, str(index.model_path))
    Deadline(options.timeout, options.spent).check(0, index.num_moments)
    return load_model(text_side or index.model_path, device)


def _answers(
    index: "MomentIndex",
    model: "MomentModel | None",
    sentences: Sequence[str],
    asked: Asked,
    options: "SearchOptions",
) -> list["Answer"]:
    from mmn_index.search import search, search_like

    ranking = {"score": asked.score, "hub": asked.hub, "options": options}
    if asked.like is not None or model is None:
        return [search_like(index, *_moment(str(asked.like)), **ranking)]  # type: ignore[arg-type]
    without = None if asked.without is None else [asked.without]
    return search(index, model, sentences, without=without, **ranking)  # type: ignore[arg-type]


def _print(
    index: "MomentIndex",
    answers: Sequence["Answer"],
    name: str,
    options: "SearchOptions",
    as_json: bool,
    *,
    several: bool,
) -> None:
    if index.manifest.calibration is not None and answers[0].evidence is None and not as_json:
        say("No confidences: they are for one sentence, ranked by the index's own model and score.")
    for answer in answers:
        if as_json:
            print_hits(index, answer, name, several=several)
        else:
            show_hits(index, answer, name, options, several=several)


def _options(
    index: "MomentIndex",
    videos: tuple[str, ...],
    exclude: tuple[str, ...],
    where: tuple[str, ...],
    after: float | None,
    before: float | None,
    min_length: float | None,
    max_length: float | None,
    **rest: Any,
) -> "SearchOptions":
    from mmn_index.index import Restriction
    from mmn_index.search import SearchOptions

    condition = index.where(where).where
    restriction = Restriction(videos or None, exclude, condition, after, before, min_length, max_length)
    return SearchOptions(restriction=restriction, **rest)


def _moment(text: str) -> tuple[str, float, float]:
    """VIDEO@START-END."""
    from mmn_index.errors import QueryError

    match = re.fullmatch(r"(?s:(.+))@(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)", text)
    if match is None or float(match[2]) >= float(match[3]):
        raise QueryError(
            f"--like '{text}': expected VIDEO@START-END in seconds, such as porch/cam1@12.0-18.5."
        )
    return match[1], float(match[2]), float(match[3])


def _pairs(
    index: "MomentIndex",
    model: "MomentModel",
    first: str,
    asked: Asked,
    score: "Score",
    options: "SearchOptions",
    as_json: bool,
) -> "Sequence[Pair]":
    """Find, and print, two moments of one video."""
    from mmn_index.search import search_pairs

    in_order, name = asked.then is not None, score.name
    second = str(asked.then if in_order else asked.also)
    pairs = search_pairs(
        index, model, first, second, in_order=in_order, score=name, hub=score.hub, options=options
    )
    if as_json:
        print_pairs(index, pairs, name)
    if not pairs:
        say(nothing(index) if not index.num_moments else "no video has such a pair of moments.")
    elif not as_json:
        show_pairs(index, pairs, name, in_order=in_order)
    return pairs


def _open(index: "MomentIndex", best: "Sequence[Hit | Pair]") -> None:
    """Play the best moment, or the first moment of the best pair."""
    from mmn_index.search import Hit

    if not best:
        say("--open: there is no moment to play.")
    for found in best:
        start = found.start if isinstance(found, Hit) else found.first[0]
        play(found.video_id, index.video(found.video).uri, start)

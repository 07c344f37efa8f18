"""What a command looks for, by which score and where: the options that `search` and `export` share."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .build import index_option
from .numbers import Seconds, seconds
from .sentences import fitting_lines, read_lines
from .stopwatch import Stopwatch

if TYPE_CHECKING:
    from mmn_index.index import MomentIndex
    from mmn_index.moment_model import MomentModel
    from mmn_index.scoring import Score
    from mmn_index.search import Answer, SearchOptions


def question_options(command: Callable[..., Any], *, databases: bool = False) -> Callable[..., Any]:
    """QUERY and what goes in its place, the index, the ranking, and what it is restricted to.

    Args:
        databases: whether the index may be in a database.
    """
    for option in reversed(_OPTIONS):
        command = option(command)
    return click.argument("query", required=False)(index_option(command, databases=databases))


class AskingCommand(click.Command):
    """Takes one sentence, and says so where its quotes were forgotten."""

    allow_extra_args = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        query = super().parse_args(ctx, args)
        if ctx.args:
            sentence = " ".join([str(ctx.params["query"]), *ctx.args])
            raise click.UsageError(
                f"QUERY is one sentence, but more follows it: {' '.join(ctx.args)}. Put the sentence in "
                f'quotes, as in `mmn-index {ctx.info_name} "{sentence}"`; --index names an index.',
                ctx,
            )
        return query


_OPTIONS: tuple[Callable[..., Any], ...] = (
    click.option("-k", type=int, default=10, show_default=True, help="How many moments."),
    click.option(
        "--nms",
        type=float,
        default=0.5,
        show_default=True,
        help="Drop the worse of two moments of a video whose temporal IoU is above this; 1 drops none.",
    ),
    click.option("--score", help="collection, product, contrastive or iou.  [default: the index's]"),
    click.option(
        "--hub",
        type=float,
        help="How far moments similar to every sentence are ranked lower, 0 (not at all) to 1.  "
        "[default: the index's]",
    ),
    click.option("--per-video", type=int, help="At most this many moments per video."),
    click.option("--video", "videos", multiple=True, help="Only in this video (its id); may be repeated."),
    click.option("--exclude", multiple=True, help="Not in this video; may be repeated."),
    click.option(
        "--where",
        multiple=True,
        help="Only in videos whose metadata fit, e.g. camera=porch or "
        '"recorded>=2026-01-01"; may be repeated.',
    ),
    click.option(
        "--after",
        type=Seconds(),
        help="Moments that start then or later in their video: seconds, or a time such as 1:30.",
    ),
    click.option("--before", type=Seconds(), help="Moments that end then or earlier."),
    click.option("--min-length", type=Seconds(), help="The shortest that a moment may be."),
    click.option("--max-length", type=Seconds(), help="The longest."),
    click.option("--not", "without", help="A second sentence: moments that fit QUERY rather than this."),
    click.option(
        "--like",
        help="Moments like one of the index, in place of QUERY: VIDEO@START-END, e.g. porch/cam1@12.0-18.5; "
        "in an index of tubes VIDEO@START-END#TUBE.",
    ),
    click.option(
        "--queries",
        type=click.Path(path_type=Path, allow_dash=True),
        help="A file with one sentence per line (- for stdin), in place of QUERY.",
    ),
    click.option(
        "--min-confidence",
        type=float,
        help="Only moments with at least this confidence, 0 to 1; none if nothing fits. Needs a "
        "calibrated index.",
    ),
    click.option(
        "--timeout",
        type=float,
        help="Give up after this many seconds, counted from the start of the command.",
    ),
    click.option(
        "--model",
        "text_side",
        type=click.Path(path_type=Path),
        help="Embed sentences with this checkpoint, such as one from `tune-text`. Its video side "
        "has to be that of the index. For a database: the model, or an index that holds it.",
    ),
    click.option(
        "--device",
        default="cpu",
        show_default=True,
        help="Where the text encoder and scans run; cuda scans on all GPUs.",
    ),
)


@dataclass(frozen=True)
class Asked:
    """What to look for and by which score, as the options say it."""

    like: str | None
    without: str | None
    text_side: Path | None
    score: str | None
    hub: float | None


@dataclass(frozen=True)
class Question:
    """All that an answer needs, opened and loaded.

    Attributes:
        model: None where nothing has to be embedded.
        score: what the answers are ranked by.
        several: whether the sentences come from a file.
    """

    index: "MomentIndex"
    model: "MomentModel | None"
    sentences: Sequence[str]
    asked: Asked
    score: "Score"
    options: "SearchOptions"
    several: bool

    def answers(self) -> "list[Answer]":
        """One for each sentence, or the one of --like."""
        from mmn_index.search import search, search_like

        ranking = {"score": self.asked.score, "hub": self.asked.hub, "options": self.options}
        if self.asked.like is not None or self.model is None:
            video_id, start, end, tube = moment_of(str(self.asked.like))
            return [search_like(self.index, video_id, start, end, tube=tube, **ranking)]  # type: ignore[arg-type]
        without = None if self.asked.without is None else [self.asked.without]
        return search(self.index, self.model, self.sentences, without=without, **ranking)  # type: ignore[arg-type]


def check_question(
    query: str | None, queries: Path | None, options: dict[str, Any], *more: str | None
) -> None:
    """Refuse options that do not go together.

    Args:
        more: what else goes with one QUERY alone, as --not does.
    """
    like = options["like"]
    if sum(x is not None for x in (query, queries, like)) != 1:
        raise click.UsageError("Give one of QUERY, --queries and --like.", click.get_current_context())
    if sum(x is not None for x in (options["without"], *more)) > (0 if like or queries else 1):
        which = (
            "--not, --and and --then go with one QUERY, one of them at a time."
            if more
            else "--not goes with one QUERY."
        )
        raise click.UsageError(which, click.get_current_context())
    if like is not None and options["text_side"] is not None:
        raise click.UsageError(
            "--model embeds sentences, and --like has no sentence: leave out one of them.",
            click.get_current_context(),
        )


def open_question(
    query: str | None, root: Path, queries: Path | None, device: str, options: dict[str, Any]
) -> Question:
    """Read the sentences, open the index and load the model; each of them counts for --timeout.

    Args:
        options: the values of `question_options`, but for those that have a name here, and other fields of
            SearchOptions.
    """
    from mmn_index.index import MomentIndex

    stopwatch = click.get_current_context().ensure_object(Stopwatch)
    asked = Asked(**{field.name: options.pop(field.name) for field in fields(Asked)})
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
    return Question(index, model, sentences, asked, chosen, made, queries is not None)


def _model(
    index: "MomentIndex", text_side: Path | None, device: str, options: "SearchOptions"
) -> "MomentModel":
    """What embeds sentences: the index's own model, or another text side of it; not if the time is over."""
    from mmn_index import checkpoint
    from mmn_index.errors import CheckpointError
    from mmn_index.index.scan import Deadline
    from mmn_index.models import load_model, model_info

    if text_side is not None:
        if not text_side.is_dir():
            raise CheckpointError(
                f"--model {text_side}: no such folder, expected a checkpoint with the video side of the "
                "index, such as `mmn-index tune-text` makes. Leave out --model: the index has its own model, "
                "which `mmn-index build --model` chose."
            )
        index.check_video_side(checkpoint.info(text_side))
    else:
        index.check_model(model_info(index.model_path).fingerprint, str(index.model_path))
    Deadline(options.timeout, options.spent).check(0, index.num_moments)
    return load_model(text_side or index.model_path, device)


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


def moment_of(text: str) -> tuple[str, float, float, int | None]:
    """VIDEO@START-END, or VIDEO@START-END#TUBE."""
    from mmn_index.errors import QueryError

    match = re.fullmatch(r"(?s:(.+))@([\d:.]+)-([\d:.]+)(?:#(\d{1,9}))?", text, re.ASCII)
    try:
        start, end = (seconds(match[place]) for place in (2, 3)) if match else (0.0, 0.0)
    except ValueError:
        start = end = 0.0
    if match is None or start >= end:
        raise QueryError(
            f"--like '{text}': expected VIDEO@START-END, such as porch/cam1@12.0-18.5 or "
            "porch/cam1@1:05-1:12."
        )
    return match[1], start, end, None if match[4] is None else int(match[4])

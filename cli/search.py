"""mmn-index search: sentences to ranked moments."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .hits import nothing, print_hits, print_pairs, show_hits, show_pairs
from .output import say
from .paths import is_typed
from .player import play
from .question import AskingCommand, Question, check_question, open_question, question_options
from .stopwatch import Stopwatch

if TYPE_CHECKING:
    from mmn_index.databases.target import Target
    from mmn_index.index import MomentIndex
    from mmn_index.search import Answer, Hit
    from mmn_index.search.pairs import Pair


@click.command(cls=AskingCommand)
@partial(question_options, databases=True)
@click.option("--and", "also", help="Videos with a moment of QUERY and one of this sentence.")
@click.option("--then", help="Videos with a moment of QUERY and after it one of this sentence.")
@click.option("--exact", is_flag=True, help="Scan all moments, even if there is a candidate index.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.option(
    "--server",
    "url",
    envvar="MMN_INDEX_SERVER",
    help="Ask a running `mmn-index serve` at this address; --index then names one of its "
    "indexes, if it has several. Its token is read from MMN_INDEX_TOKEN.",
)
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
def search(
    query: str | None,
    root: "Path | Target",
    queries: Path | None,
    url: str | None,
    html: Path | None,
    playing: bool,
    device: str,
    as_json: bool,
    also: str | None,
    then: str | None,
    **options: Any,
) -> None:
    """Find the moments that QUERY describes, across all videos of an index.

    \b
    Example:
        mmn-index search "person opens door"
        mmn-index search "person opens door" --not "person closes door" --per-video 1
        mmn-index search "person opens door" --then "person sits down" --where camera=porch
        mmn-index search --like porch/cam1@12.0-18.5 --json
        mmn-index search --queries sentences.txt --json
        mmn-index search "person opens door" --server http://localhost:8000
        mmn-index search "person opens door" --index qdrant://localhost/porch
    """
    from mmn_index.places import check_file

    click.get_current_context().ensure_object(Stopwatch).lap("to start")
    check_question(query, queries, options, also, then)
    _check_usage(html, queries, options["like"], also or then, playing)
    if url is not None:
        from .remote import search_remotely

        more = {"also": also, "then": then, "html": html, "playing": playing, "index": _named(root)}
        search_remotely(url, query, queries, {**options, **more}, as_json=as_json)
        return
    if not isinstance(root, Path):
        from .database import search_in_database

        more = {"--and": also, "--then": then, "--html": html}
        search_in_database(query, root, queries, device, options, more, as_json=as_json, playing=playing)
        return
    if html:
        check_file(html, regular=False)
    question = open_question(query, root, queries, device, options)
    index = question.index
    if also is not None or then is not None:
        second = str(also if then is None else then)
        pairs = _pairs(question, second, in_order=then is not None, as_json=as_json)
        if playing:
            _open(index, pairs[:1])
        return
    answers = question.answers()
    _print(question, answers, as_json)
    if html:
        _write_page(html, question, answers[0])
    if playing:
        _open(index, answers[0].hits[:1])


def _named(root: "Path | Target") -> str | None:
    """The name that a server has for --index; None where that is not given."""
    if not is_typed("root"):
        return None
    if not isinstance(root, Path):
        raise click.UsageError("--server knows no database: leave out one of --index and --server.")
    return root.name.removesuffix(".mmn")


def _write_page(path: Path, question: Question, answer: "Answer") -> None:
    from .page import write_page

    assert question.model is not None
    lacking = write_page(path, question.index, question.model, answer, question.score)
    say(f"{path}: open it in a browser.")
    if lacking:
        say(f"{len(lacking)} of {len(answer.hits)} moments have no pictures. The first: {lacking[0]}")


def _check_usage(
    html: Path | None, queries: Path | None, like: str | None, second: str | None, playing: bool
) -> None:
    """Refuse a page that cannot be, and to play what is not one moment."""
    if html and (queries or second):
        raise click.UsageError("--html shows the moments of one QUERY.", click.get_current_context())
    if html and like is not None:
        raise click.UsageError("--html needs a QUERY.", click.get_current_context())
    if playing and queries:
        raise click.UsageError("--open plays the first moment of one QUERY.", click.get_current_context())


def _print(question: Question, answers: "Sequence[Answer]", as_json: bool) -> None:
    index, name, several = question.index, question.score.name, question.several
    if index.manifest.calibration is not None and answers[0].evidence is None and not as_json:
        say("No confidences: they are for one sentence, ranked by the index's own model and score.")
    for answer in answers:
        if as_json:
            print_hits(index, answer, name, several=several)
        else:
            show_hits(index, answer, name, question.options, several=several)


def _pairs(question: Question, second: str, *, in_order: bool, as_json: bool) -> "Sequence[Pair]":
    """Find, and print, two moments of one video."""
    from mmn_index.search import search_pairs

    index, score, model = question.index, question.score, question.model
    assert model is not None
    name = score.name
    pairs = search_pairs(
        index,
        model,
        question.sentences[0],
        second,
        in_order=in_order,
        score=name,
        hub=score.hub,
        options=question.options,
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

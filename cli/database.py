"""A search in a database that `push` filled."""

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import clock, print_json, print_line, say
from .player import play
from .question import Asked, moment_of
from .sentences import fitting_lines, read_lines
from .stopwatch import Stopwatch
from .table import Cell, VideoName, print_table

if TYPE_CHECKING:
    from mmn_index.databases.contract import Database, Published
    from mmn_index.databases.search import Found
    from mmn_index.databases.target import Target
    from mmn_index.index import Restriction
    from mmn_index.moment_model import MomentModel
    from mmn_index.search import SearchOptions


def search_in_database(
    query: str | None,
    target: "Target",
    queries: Path | None,
    device: str,
    options: dict[str, Any],
    refused: dict[str, Any],
    *,
    as_json: bool,
    playing: bool,
) -> None:
    """Search a database, and print what it finds as `search` does.

    Args:
        options: the values of `question_options`, but for those that have a name here, and `exact`.
        refused: options that need the index itself, by their names, and their values.
    """
    from mmn_index.databases.connect import open_database
    from mmn_index.databases.search import published_in
    from mmn_index.search import SearchOptions

    for name, value in {**refused, "--min-confidence": options.pop("min_confidence")}.items():
        if value is not None:
            raise click.UsageError(
                f"{name} needs the index itself: give its folder as --index.", click.get_current_context()
            )
    stopwatch = click.get_current_context().ensure_object(Stopwatch)
    asked = Asked(**{field.name: options.pop(field.name) for field in fields(Asked)})
    restriction, where = _restriction(options), options.pop("where")
    made = SearchOptions(restriction=restriction, **options, spent=stopwatch.lap("to read what is asked"))
    database = open_database(target)
    try:
        about = published_in(database)
        found = _answers(database, about, asked, query, queries, device, where, made)
    finally:
        database.close()
    for one in found:
        if as_json:
            _print(one, several=queries is not None)
        else:
            _show(one, made, tubes=about.tubes, several=queries is not None)
    if playing:
        _play(found[0])


def _answers(
    database: "Database",
    about: "Published",
    asked: Asked,
    query: str | None,
    queries: Path | None,
    device: str,
    where: Sequence[str],
    options: "SearchOptions",
) -> "list[Found]":
    """One for each sentence, or the one of --like."""
    from mmn_index.databases.search import Like, search_database
    from mmn_index.index.selection import parse_conditions
    from mmn_index.scoring import Embeddings

    conditions = parse_conditions(where, about.arrow)
    search = partial(search_database, database, conditions=conditions, score=asked.score, hub=asked.hub)
    if asked.like is not None:
        return search(Like(*moment_of(asked.like)), options)
    sentences = [query] if query is not None else read_lines(queries) if queries else []
    model = _model(about, asked.text_side, device)
    stopwatch = click.get_current_context().ensure_object(Stopwatch)
    options = replace(options, spent=stopwatch.lap("to load the model"))
    if queries is not None:
        sentences = fitting_lines(sentences, model, str(queries))
    embedded = model.embed_sentences(sentences)
    against = None if asked.without is None else model.embed_sentences([asked.without])
    return search(
        [(text, Embeddings(*(x[n] for x in embedded))) for n, text in enumerate(sentences)],
        options,
        against=None if against is None else Embeddings(*(x[0] for x in against)),
    )


def _restriction(options: dict[str, Any]) -> "Restriction":
    from mmn_index.index import Restriction

    bounds = {name: options.pop(name) for name in ("after", "before", "min_length", "max_length")}
    return Restriction(options.pop("videos") or None, options.pop("exclude"), **bounds)


def _model(about: "Published", given: Path | None, device: str) -> "MomentModel":
    """What embeds sentences: the model that is given, or that of the index that was pushed.

    Raises:
        QueryError: there is none, or it is not the one that embedded the moments.
    """
    from mmn_index.databases.search import check_model
    from mmn_index.errors import MmnIndexError, QueryError
    from mmn_index.index.manifest import NAME, read_manifest
    from mmn_index.models import load_model

    place = Path(about.origin) if given is None else given
    try:
        path = (
            place / read_manifest(place).model_folder if (place / NAME).is_file() or given is None else place
        )
    except MmnIndexError as error:
        raise QueryError(_gone(place)) from error
    if given is None and not path.exists():
        raise QueryError(_gone(place))
    check_model(about, path)
    return load_model(path, device)


def _gone(place: Path) -> str:
    return (
        f"the index that was pushed is not at {place} any more, or has no model there, which embeds the "
        "sentences: name the model, or an index that holds it, with --model."
    )


def _print(found: "Found", *, several: bool) -> None:
    """One JSON object per hit."""
    from mmn_index.handoff.excerpt import Excerpt
    from mmn_index.handoff.records import row_of

    answer = found.answer
    for hit, uri in zip(answer.hits, found.uris, strict=True):
        row = row_of(
            Excerpt(answer.query, hit.rank, hit.video_id, uri, hit.start, hit.end),
            score=hit.score,
            score_name=found.score,
            confidence=None,
            exact=answer.exact,
            recall=answer.recall,
            tube=hit.tube,
        )
        print_json(row if several else {key: value for key, value in row.items() if key != "query"})
    if not answer.moments:
        say("no moment of the database fits what the search is restricted to.")


def _show(found: "Found", options: "SearchOptions", *, tubes: bool, several: bool) -> None:
    """A table of the hits, and how sure it is."""
    answer = found.answer
    if several:
        print_line(answer.query, apart=True)
    if not answer.moments:
        say("no moment of the database fits what the search is restricted to.")
        return
    rows: list[Sequence[Cell]] = [
        [
            str(hit.rank),
            VideoName(hit.video_id, uri),
            *([] if hit.tube is None else [str(hit.tube)]),
            clock(hit.start),
            clock(hit.end),
            f"{hit.score:.3f}",
        ]
        for hit, uri in zip(answer.hits, found.uris, strict=True)
    ]
    print_table(["rank", "video", *["tube"] * tubes, "start", "end", found.score], rows, left=2)
    proof = "proven exact" if answer.exact else "not proven"
    if not answer.exact and answer.recall is not None:
        proof = f"not proven: such a search finds {answer.recall:.1%} of the exact top 10"
    nms = f"NMS {options.nms:g}{' within each tube' if tubes else ''}"
    say(f"{proof}: {answer.candidates:,} of {answer.moments:,} moments scored, {nms}.")


def _play(found: "Found") -> None:
    if not found.answer.hits:
        say("--open: there is no moment to play.")
        return
    hit = found.answer.hits[0]
    play(hit.video_id, found.uris[0], hit.start)

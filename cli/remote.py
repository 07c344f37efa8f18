"""A search that a server answers: neither torch nor an index is needed here."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .hits import summed
from .output import clock, print_json, print_line, say
from .sentences import read_lines
from .table import Cell, print_table

if TYPE_CHECKING:
    from mmn_index.client import Found, FoundPair, OfTube, Response

TOKEN = "MMN_INDEX_TOKEN"  # noqa: S105  (the name of a variable, not a secret)
_LOCAL = {"text_side": "--model", "html": "--html", "playing": "--open"}


def search_remotely(
    url: str,
    query: str | None,
    queries: Path | None,
    options: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    """Ask a server, and print what it finds as `search` does.

    Raises:
        MmnIndexError: what the client raises.
    """
    from mmn_index.errors import DependencyError

    if wanted := [name for key, name in _LOCAL.items() if options.pop(key, None)]:
        raise click.UsageError(
            f"{wanted[0]} needs the index itself: leave out --server.", click.get_current_context()
        )
    try:
        from mmn_index.client import Client
    except ImportError as error:
        raise DependencyError(
            f"--server needs the package {error.name}. Install it: pip install 'mmn-index[serve]'"
        ) from error
    lines = read_lines(queries) if queries else None
    body = {name: _plain(value) for name, value in options.items() if value not in (None, (), False)}
    if "like" in body:
        body["like"] = _moment(str(body["like"]))
    timeout = options.get("timeout")
    with Client(url, os.environ.get(TOKEN), *([] if timeout is None else [timeout])) as client:
        found = client.search(query if lines is None else lines, **body)
    _print(found, as_json=as_json, several=lines is not None)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _moment(text: str) -> dict[str, Any]:
    from .question import moment_of

    video, start, end, tube = moment_of(text)
    return {"video": video, "start": start, "end": end, **({} if tube is None else {"tube": tube})}


def _print(found: "Response", *, as_json: bool, several: bool) -> None:
    if found.pairs is not None:
        _print_pairs(found.pairs, found.score, as_json=as_json)
    for answer in found.answers:
        if as_json:
            _print_lines(answer, found.score, several=several)
        else:
            _show(answer, found.score, several=several)


def _print_lines(answer: "Found", score: str, *, several: bool) -> None:
    for hit in answer.hits:
        print_json(
            {
                **({"query": answer.query} if several else {}),
                "rank": hit.rank,
                "video": hit.video,
                "start": hit.start,
                "end": hit.end,
                "score": hit.score,
                "score_name": score,
                **({} if hit.confidence is None else {"confidence": hit.confidence}),
                "exact": answer.exact,
                "recall": answer.recall,
                **_share(answer.searched),
                **_boxes(hit),
            }
        )


def _boxes(hit: "OfTube") -> dict[str, Any]:
    names = ("tube", "frame_size", "frame_rate", "first_frame", "boxes")
    return {} if hit.tube is None else {name: getattr(hit, name) for name in names}


def _show(answer: "Found", score: str, *, several: bool) -> None:
    if several:
        print_line(answer.query, apart=True)
    sure = any(hit.confidence is not None for hit in answer.hits)
    tubes = any(hit.tube is not None for hit in answer.hits)
    rows: list[Sequence[Cell]] = [
        [
            str(hit.rank),
            hit.video,
            *([str(hit.tube)] if tubes else []),
            clock(hit.start),
            clock(hit.end),
            f"{hit.score:.3f}",
            *([f"{hit.confidence or 0:.2f}"] if sure else []),
        ]
        for hit in answer.hits
    ]
    if rows:
        heads = ["rank", "video", *["tube"] * tubes, "start", "end", score]
        print_table([*heads, *["confidence"] * sure], rows, left=2)
    if not rows and answer.refused is not None:
        say(f"no match: the best moment has a confidence of {answer.refused:.2f}.")
    proof = "proven exact"
    if answer.searched < 1:
        proof = _partial(answer.searched)
    elif not answer.exact:
        proof = f"not proven: {answer.recall or 0:.1%} of the exact top 10 are found"
    say(f"{proof}: {answer.candidates:,} of {answer.moments:,} moments scored.")


def _share(searched: float) -> dict[str, float]:
    """What JSON says of a list for which not all was searched."""
    return {} if searched == 1 else {"searched": searched}


def _partial(searched: float) -> str:
    percent = int(1000 * searched) / 10  # never rounded up to all of them
    return f"not proven: {percent:g} % of the moments were searched, nodes of the server's cluster are lost"


def _print_pairs(pairs: "Sequence[FoundPair]", score: str, *, as_json: bool) -> None:
    rows: list[Sequence[Cell]] = []
    for pair in pairs:
        if as_json:
            parts = {
                name: {"start": part.start, "end": part.end, "log_score": part.log_score, **_boxes(part)}
                for name, part in (("first", pair.first), ("second", pair.second))
            }
            about: dict[str, Any] = {"score_name": f"sum of {summed(score)}", "exact": pair.searched == 1}
            about |= _share(pair.searched)
            print_json({"rank": pair.rank, "video": pair.video, "score": pair.score, **about, **parts})
        else:
            row: list[Cell] = [str(pair.rank), pair.video]
            for part in (pair.first, pair.second):
                row += [] if part.tube is None else [str(part.tube)]
                row += [clock(x) for x in (part.start, part.end)]
            rows.append([*row, f"{pair.score:.3f}"])
    if rows:
        heads = [*["tube"] * (pairs[0].first.tube is not None), "start", "end"]
        print_table(["rank", "video", *heads, *heads, f"sum ({score})"], rows, left=2)
    if pairs and pairs[0].searched < 1 and not as_json:
        say(f"{_partial(pairs[0].searched)}.")
    if not pairs:
        say("no video has such a pair of moments.")

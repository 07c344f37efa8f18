"""mmn-index search: sentences to ranked moments."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from .hits import nothing, print_hits, show_hits
from .output import clock, print_json, print_table, say
from .question import Question, check_question, open_question, question_options
from .stopwatch import Stopwatch


@click.command()
@question_options
@click.option("--and", "also", help="Videos with a moment of QUERY and one of this sentence.")
@click.option("--then", help="Videos with a moment of QUERY and after it one of this sentence.")
@click.option("--exact", is_flag=True, help="Scan everything, also where there is a candidate index.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a page with pictures of the moments.",
)
def search(
    query: str | None,
    root: Path,
    queries: Path | None,
    html: Path | None,
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
    """
    from mmn_index.places import check_file

    click.get_current_context().ensure_object(Stopwatch).lap("to start")
    check_question(query, queries, options, also, then)
    _check_page(html, queries, options["like"], also or then)
    if html:
        check_file(html, regular=False)
    question = open_question(query, root, queries, device, options)
    if also is not None or then is not None:
        _pairs(question, str(also if then is None else then), in_order=then is not None, as_json=as_json)
        return
    index, name = question.index, question.score.name
    answers = question.answers()
    if index.manifest.calibration is not None and answers[0].evidence is None and not as_json:
        say("No confidences: they are for one sentence, ranked by the index's own model and score.")
    for answer in answers:
        if as_json:
            print_hits(index, answer, name, several=question.several)
        else:
            show_hits(index, answer, name, question.options, several=question.several)
    if html and question.model is not None:
        from .page import write_page

        write_page(html, index, question.model, answers[0], question.score)
        say(f"{html}: open it in a browser.")


def _check_page(html: Path | None, queries: Path | None, like: str | None, second: str | None) -> None:
    """Refuse a page that cannot be."""
    if html and (queries or second):
        raise click.UsageError("--html shows the moments of one QUERY.", click.get_current_context())
    if html and like is not None:
        raise click.UsageError("--html needs a QUERY.", click.get_current_context())


def _pairs(question: Question, second: str, *, in_order: bool, as_json: bool) -> None:
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
    keys: Sequence[str] = ("start", "end", "log_score")
    rows = []
    for pair in pairs:
        if as_json:
            parts = [
                dict(zip(keys, (round(x, 3) for x in part), strict=True))
                for part in (pair.first, pair.second)
            ]
            print_json(
                {
                    "rank": pair.rank,
                    "video": pair.video_id,
                    "score": pair.score,
                    "score_name": f"sum of log {name}",
                    "first": parts[0],
                    "second": parts[1],
                    "exact": True,
                    "uri": index.video(pair.video).uri,
                }
            )
        else:
            times = [clock(x) for part in (pair.first, pair.second) for x in part[:2]]
            rows.append([str(pair.rank), pair.video_id, *times, f"{pair.score:.3f}"])
    if not pairs:
        say(nothing(index) if not index.num_moments else "no video has such a pair of moments.")
    elif not as_json:
        print_table(["rank", "video", "start", "end", "start", "end", "sum of logs"], rows, left=2)
        order = "the second begins after the first has ended" if in_order else "anywhere in the video"
        say(
            f"proven exact: the best pair of each video, {order}; sum of both moments' logarithmic scores "
            f"({name})."
        )

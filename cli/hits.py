"""What `mmn-index search` prints: hits and pairs as a table for people, or as JSON."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .output import clock, print_json, print_line, say
from .table import Cell, VideoName, print_table

if TYPE_CHECKING:
    from mmn_index.index import MomentIndex
    from mmn_index.search import Answer, Hit, SearchOptions
    from mmn_index.search.pairs import Pair


def print_hits(index: "MomentIndex", answer: "Answer", name: str, *, several: bool) -> None:
    """One JSON object per hit; what there is to say of none goes to stderr."""
    from mmn_index.handoff.records import record

    for hit in answer.hits:
        row = record(index, answer, hit, name)
        print_json(row if several else {key: value for key, value in row.items() if key != "query"})
    if not answer.moments:
        say(nothing(index))
    elif not answer.hits and answer.refused is not None:
        say(f"no match for '{answer.query}': the best moment has a confidence of {answer.refused:.2f}.")


def show_hits(
    index: "MomentIndex", answer: "Answer", name: str, options: "SearchOptions", *, several: bool
) -> None:
    """A table of the hits, and whether it is the exact answer."""
    if several:
        print_line(answer.query, apart=True)
    if not answer.moments:
        say(nothing(index))
        return
    sure = answer.evidence is not None and index.manifest.calibration is not None
    rows: list[list[Cell]] = []
    for hit in answer.hits:
        times = [clock(hit.start), clock(hit.end)]
        confidence = [f"{hit.confidence:.2f}"] if sure else []
        tube = [] if hit.tube is None else [str(hit.tube)]
        rows.append([str(hit.rank), _name(index, hit), *tube, *times, f"{hit.score:.3f}", *confidence])
    if rows or answer.refused is None:
        tube = ["tube"] * index.manifest.tubes
        print_table(["rank", "video", *tube, "start", "end", name, *["confidence"] * sure], rows, left=2)
    proof = "proven exact"
    if not answer.exact:
        proof = (
            f"not proven: the candidate index finds {answer.recall or 0:.1%} of the exact top 10 (--exact "
            "scans everything)"
        )
    nms = f"NMS {options.nms:g}{' within each tube' if index.manifest.tubes else ''}"
    proof = f"{proof}: {answer.candidates:,} of {answer.moments:,} moments scored, {nms}."
    if not rows and answer.refused is not None:
        proof = (
            f"no match: the best moment has a confidence of {answer.refused:.2f}, below "
            f"{options.min_confidence:g}; {proof}"
        )
    say(proof)


def print_pairs(index: "MomentIndex", pairs: "Sequence[Pair]", name: str) -> None:
    """One JSON object per pair."""
    from mmn_index.handoff.records import boxes_of

    keys = ("start", "end", "log_score")
    for pair in pairs:
        first, second = (
            {**dict(zip(keys, (round(x, 3) for x in part), strict=True)), **boxes_of(index, row)}
            for part, row in zip((pair.first, pair.second), pair.rows, strict=True)
        )
        print_json(
            {
                "rank": pair.rank,
                "video": pair.video_id,
                "score": pair.score,
                "score_name": f"sum of {summed(name)}",
                "first": first,
                "second": second,
                "exact": True,
                "uri": index.video(pair.video).uri,
            }
        )


def show_pairs(index: "MomentIndex", pairs: "Sequence[Pair]", name: str, *, in_order: bool) -> None:
    """A table of the pairs, and what makes them the exact answer."""
    rows: list[list[Cell]] = []
    for pair in pairs:
        row: list[Cell] = [str(pair.rank), _name(index, pair)]
        for place, part in enumerate((pair.first, pair.second)):
            row += [] if pair.tubes is None else [str(pair.tubes[place])]
            row += [clock(x) for x in part[:2]]
        rows.append([*row, f"{pair.score:.3f}"])
    heads = [*["tube"] * index.manifest.tubes, "start", "end"]
    total = "sum of logs" if name != "contrastive" else "sum"
    print_table(["rank", "video", *heads, *heads, total], rows, left=2)
    order = "the second begins after the first has ended" if in_order else "anywhere in the video"
    say(
        f"proven exact: the best pair of each video, {order}; sum of both moments' "
        f"{'' if name == 'contrastive' else 'logarithmic '}scores ({name})."
    )


def _name(index: "MomentIndex", found: "Hit | Pair") -> VideoName:
    return VideoName(found.video_id, index.video(found.video).uri)


def nothing(index: "MomentIndex") -> str:
    """Why a search could find nothing."""
    if not index.num_moments:
        return f"{index.root}: is empty: all videos were removed. `mmn-index add` adds some."
    return "no moment of the index fits what the search is restricted to."


def summed(name: str) -> str:
    """What the score of a pair is a sum of: logarithms, but of a score that is none."""
    return name if name == "contrastive" else f"log {name}"

"""What `mmn-index search` prints: hits as a table for people, or as JSON."""

from typing import TYPE_CHECKING

from .output import clock, print_json, print_line, print_table, say

if TYPE_CHECKING:
    from mmn_index.index import MomentIndex
    from mmn_index.search import Answer, SearchOptions


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
    rows = []
    for hit in answer.hits:
        row = [str(hit.rank), hit.video_id, clock(hit.start), clock(hit.end), f"{hit.score:.3f}"]
        rows.append([*row, f"{hit.confidence:.2f}"] if sure else row)
    if rows or answer.refused is None:
        print_table(["rank", "video", "start", "end", name, *["confidence"] * sure], rows, left=2)
    proof = "proven exact"
    if not answer.exact:
        proof = (
            f"not proven: the candidate index finds {answer.recall or 0:.1%} of the exact top 10 (--exact "
            "scans everything)"
        )
    proof = f"{proof}: {answer.candidates:,} of {answer.moments:,} moments scored, NMS {options.nms:g}."
    if not rows and answer.refused is not None:
        proof = (
            f"no match: the best moment has a confidence of {answer.refused:.2f}, below "
            f"{options.min_confidence:g}; {proof}"
        )
    say(proof)


def nothing(index: "MomentIndex") -> str:
    """Why a search could find nothing."""
    if not index.num_moments:
        return f"{index.root}: is empty: all videos were removed. `mmn-index add` adds some."
    return "no moment of the index fits what the search is restricted to."

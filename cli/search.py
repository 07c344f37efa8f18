"""mmn-index search: one sentence to ranked moments."""

from pathlib import Path

import click

from .output import clock, print_json, print_table, say


@click.command()
@click.argument("query")
@click.option("--index", "root", type=click.Path(path_type=Path), envvar="MMN_INDEX", default="collection.mmn", show_default=True,
              show_envvar=True, help="Index directory.")  # fmt: skip
@click.option("-k", type=int, default=10, show_default=True, help="How many moments.")
@click.option("--nms", type=float, default=0.5, show_default=True,
              help="Drop the worse of two moments of a video whose temporal IoU is above this; 1 drops none.")  # fmt: skip
@click.option("--score", help="collection, product, contrastive or iou; the index's default if not given.")
@click.option("--per-video", type=int, help="At most so many moments of one video.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a page with pictures of the moments.")
@click.option("--device", default="cpu", show_default=True, help="Where the text encoder runs.")
def search(
    query: str,
    root: Path,
    k: int,
    nms: float,
    score: str | None,
    per_video: int | None,
    as_json: bool,
    html: Path | None,
    device: str,
) -> None:
    """Find the moments that QUERY describes, across all videos of an index.

    \b
    Example:
        mmn-index search "person opens door"
        mmn-index search "person opens door" --per-video 1 --json
        mmn-index search "person opens door" --html door.html
    """
    from mmn_index import checkpoint
    from mmn_index.index import MomentIndex
    from mmn_index.search import SearchOptions
    from mmn_index.search import search as run

    options = SearchOptions(k, nms, per_video)
    index = MomentIndex(root)
    index.check_model(checkpoint.info(index.model_path).fingerprint, str(index.model_path))
    model = checkpoint.load(index.model_path, device)
    answer = run(index, model, [query], score=score, options=options)[0]
    name = score or index.manifest.score.name
    if as_json:
        for hit in answer.hits:
            print_json({
                "rank": hit.rank, "video": hit.video_id, "start": round(hit.start, 3), "end": round(hit.end, 3),
                "score": hit.score, "score_name": name, "exact": answer.exact, "uri": index.videos[hit.video].uri,
            })  # fmt: skip
    else:
        rows = [[str(hit.rank), hit.video_id, clock(hit.start), clock(hit.end), f"{hit.score:.3f}"] for hit in answer.hits]
        print_table(["rank", "video", "start", "end", name], rows, left=2)
        proof = "proven exact" if answer.exact else "not proven exact"
        say(f"{proof}: {answer.candidates:,} of {index.num_moments:,} moments scored, NMS {nms:g}.")
    if html:
        from .page import write_page

        write_page(html, index, model, answer, index.manifest.with_score(name))
        say(f"{html}: open it in a browser.")

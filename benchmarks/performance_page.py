"""docs/performance.md and its pictures, out of what the benchmarks measured.

    python benchmarks/performance_page.py

Reads embedding, query, extraction, search, search_beside, scaling and gpu_settings in results/.
performance.txt beside this script is the text; {NAME} in it is a figure or a table. No figure is typed by
hand.
"""

import json
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import larger
import plots
import synthetic
from goals import EMBEDDING, LARGEST, LISTS, MILLION, NAMES, WHY, goals

DOCS = Path(__file__).parents[1] / "docs"
RESULTS, TEXT = Path(__file__).with_name("results"), Path(__file__).with_name("performance.txt")
FILES = ("embedding", "query", "extraction", "search", "search_beside", "scaling", "gpu_settings")
PICTURES = ("performance-speed.svg", "performance-query.svg", "performance-scaling.svg")
QUERIES = ("1 sentence", "64 sentences", LISTS)
_PLACE = re.compile(r"\{([^{}\n]+)\}")
GROWING = {
    "searching, s": ("ms", 1000),
    "evaluating 64 sentences, s": ("s", 1),
    "building, s": ("s", 1),
    "changing, s": ("s", 1),
    "memory of building, MiB": ("MiB", 1),
    "memory of searching, MiB": ("MiB", 1),
}


def read() -> dict[str, Any]:
    """The content of the result files, by their names."""
    return {name: json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")) for name in FILES}


def page(results: Mapping[str, Any], template: str) -> str:
    """The text of the page.

    Raises:
        KeyError: the template names what there is not.
    """
    parts = {**figures(results), **tables(results)}
    parts["missed"] = _filled(missed(results), parts)
    return _filled(template, parts)


def draw(results: Mapping[str, Any], folder: Path) -> None:
    """The pictures."""
    speed, query, scaling = (folder / name for name in PICTURES)
    plots.speed(results["embedding"], NAMES, speed)
    plots.stages(results["query"]["warm, ms"], QUERIES, query)
    plots.scaling(results["scaling"], scaling)


def missed(results: Mapping[str, Any]) -> str:
    """A line on each goal that was not reached."""
    lines = [f"- {goal.name}: {WHY[goal.key]}" for goal in goals(results) if not goal.met]
    return "Why the others were not:\n\n" + "\n".join(lines) if lines else "All of them were."


def figures(results: Mapping[str, Any]) -> dict[str, str]:
    """Numbers in the text, by name."""
    machine = results["scaling"]["machine"]
    return {
        **{f"{name} command": results[name]["command"] for name in FILES if "command" in results[name]},
        "processor": machine["processor"],
        "cores": str(machine["cores"]),
        "torch": machine["packages"]["torch"],
        **_of_embedding(results["embedding"]),
        **_of_queries(results["query"]),
        **_of_films(results["extraction"]),
        **_of_search(results),
        **_of_scaling(results["scaling"]),
    }


def tables(results: Mapping[str, Any]) -> dict[str, str]:
    """By name."""
    measured = larger.Measured(
        *(results[name] for name in ("scaling", "search", "embedding", "extraction", "gpu_settings"))
    )
    collections = [larger.Collection(measured, hours).rows() for hours in larger.HOURS]
    rows = [[name, *(one[name] for one in collections)] for name in collections[0]]
    return {
        "goals": _table(["goal", "target", "measured", "reached"], [goal.cells() for goal in goals(results)]),
        "embedding": _embedding_table(results["embedding"]),
        "gpu": _gpu_table(results["gpu_settings"]),
        "gpu training": _gpu_training_table(results["gpu_settings"]),
        "queries": _query_table(results["query"]["warm, ms"]),
        "search": _search_table(results["search"]["sizes"]),
        "films": _film_table(results["extraction"]),
        "growth": _growth_table(results["scaling"]),
        "bytes": _bytes_table(results["scaling"]["sizes"]),
        "larger": _table(["", *(f"{larger.said(hours)} hours" for hours in larger.HOURS)], rows),
        "assumptions": _table(["assumption", ""], [[name, f"{x:,g}"] for name, x in larger.ASSUMED.items()]),
        "breaks": _table(
            ["part", "limit", "reached at, hours of video", "what replaces it"], larger.breaks(measured)
        ),
    }


def _filled(template: str, parts: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda match: parts[match[1]], template)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    if head[-1] in ("reached", "what replaces it", ""):
        lines[1] = ["---"] * len(head)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _of_embedding(found: Mapping[str, Any]) -> dict[str, str]:
    shares = [found[name]["share of the processor's rate"] or 0.0 for name in EMBEDDING]
    off = max(found[name]["largest difference of unit embeddings"] for name in NAMES)
    return {
        "difference": f"{off:.0e}".replace("e-0", "e-"),
        "lowest share": f"{100 * min(shares):.0f}",
        "highest share": f"{100 * max(shares):.0f}",
        "batches": ", ".join(f"{NAMES[name]} {found[name]['videos']}" for name in EMBEDDING),
        "official videos": str(found["official videos"]),
    }


def _of_queries(found: Mapping[str, Any]) -> dict[str, str]:
    warm, cold = found["warm, ms"], found["cold"]
    lists, least = warm[LISTS], "products of the text encoder at the processor's rate"
    return {
        "moments": f"{warm['moments']:,}",
        "encoder share": f"{100 * warm[QUERIES[0]][least] / warm[QUERIES[0]]['encode']:.0f}",
        "encoder share of 64": f"{100 * warm[QUERIES[1]][least] / warm[QUERIES[1]]['encode']:.0f}",
        "list ratio": f"{lists['all but text, times text']:.1f}",
        "list rank": f"{lists['rank and NMS']:,.0f}",
        "list evidence": f"{lists['evidence']:,.0f}",
        "list text": f"{lists['tokenise'] + lists['encode']:,.0f}",
        "cold": f"{cold['mmn-index search']['s']:.2f}",
        "cold ratio": f"{cold['mmn-index search']['times the reference']:.2f}",
        "cold server": f"{cold['mmn-index search --server']['s']:.2f}",
    }


def _of_films(found: Mapping[str, Any]) -> dict[str, str]:
    parts = ("pixels", "decoded_and_scaled", "rendering", "encoder_alone")
    pixels, walk, rendering, encoder = (found[part]["film_a_processor_second"] for part in parts)
    earlier = found["earlier"]
    same = earlier["rendering"]["same_files"] and earlier["pixels"]["same_features"]
    return {
        "earlier": earlier["commit"][:7],
        "earlier files": "its videos and features are "
        + ("equal to ours to the bit" if same else "**other ones**"),
        "idle": f"{100 * found['pixels']['processors_idle']:.0f}",
        "walk share": f"{100 * pixels / walk:.0f}",
        "encoder share of rendering": f"{100 * rendering / encoder:.0f}",
        "videos rendered": str(found["videos"]),
        "workers": str(found["workers"]),
    }


def _of_search(results: Mapping[str, Any]) -> dict[str, str]:
    now = {size["moments"]: size for size in results["search"]["sizes"]}
    rounds = results["search_beside"]["rounds"]
    times = results["search_beside"]["times as fast, median of rounds"]
    copy = results["search"].get("copy, bytes a second", results["scaling"]["copy, bytes a second"])
    scan = now[MILLION]["exact scan, 1 query, ms"]
    return {
        "largest": f"{LARGEST:,}",
        "copy rate": f"{copy / 1e9:.0f}",
        "scan rate": f"{MILLION * larger.EMBEDDING / scan / 1e6:.0f}",
        "candidate recall": f"{now[LARGEST]['recall@10 after NMS']:.3f}",
        "times, 64 queries": f"{times['64 queries, ms']:.1f}",
    } | {
        f"candidate {which}": f"{statistics.median(one[which]['1 query, ms'] for one in rounds):.2f}"
        for which in ("before", "now")
    }


def _of_scaling(found: Mapping[str, Any]) -> dict[str, str]:
    first, last = found["sizes"][0], found["sizes"][-1]
    scan = last["scan, bytes a second"]
    return {
        "actions": str(synthetic.ACTIONS),
        "first lists": f"{first['lists visited']:,}",
        "first depth": f"{first['candidates asked for']:,}",
        "last lists": f"{last['lists visited']:,}",
        "last depth": f"{last['candidates asked for']:,}",
        "most videos": f"{last['videos']:,}",
        "most moments": f"{last['moments']:,}",
        "moments a video": str(found["moments a video"]),
        "numbers": str(found["numbers a moment"]),
        "scaling copy": f"{found['copy, bytes a second'] / 1e9:.0f}",
        "scaling scan": f"{scan / 1e9:.1f}",
        "scaling scan share": f"{100 * scan / found['copy, bytes a second']:.0f}",
        "products": f"{found['products, multiplications a second'] / 1e9:.0f}",
        "scaling recall": f"{last['recall@10 after NMS']:.3f}",
        "per video": f"{larger.PER_VIDEO:,}",
        "metadata": f"{larger.EMBEDDING:,} bytes of embedding and {larger.CODE:.0f} of code",
    }


def _embedding_table(found: Mapping[str, Any]) -> str:
    head, rate = ["setting"], "share of the processor's rate"
    for what in ("embedding", "training step"):
        head += [f"{what} per video, official", "ours", "ratio", rate]
    rows = []
    for name, title in NAMES.items():
        cells = [title]
        for kind, share in (("embedding a video", rate), ("training step a video", f"{rate} in training")):
            about, part = found[name][kind], found[name].get(share)
            cells += [f"{about[form]:,.{int(about[form] < 100)}f} ms" for form in ("official_ms", "ours_ms")]
            cells += [f"{about['ratio']:.1f}", "" if part is None else f"{100 * part:.0f} %"]
        rows.append(cells)
    return _table(head, rows)


def _gpu_table(found: Mapping[str, Any]) -> str:
    """Of each form; results before the forms had names are of one, the whole map in TF32."""
    rows, embedded = [], "videos embedded a second"
    for row in found["figures"]:
        if embedded in row:
            share = row.get("share of the product in this precision", row.get("share of the TF32 product"))
            cells = [row.get("form", "whole map"), row.get("precision", "" if "form" in row else "TF32")]
            cells += [f"{row[embedded]:,.0f}", "" if share is None else f"{100 * share:.0f} %"]
            rows.append([NAMES[row["setting"]], *cells])
    return _table(
        [found["device"], "form", "precision", "videos embedded per second", "share of the product"], rows
    )


def _gpu_training_table(found: Mapping[str, Any]) -> str:
    rows, steps = [], {}
    for row in found["figures"]:
        if "steps a second" in row:
            place = steps.setdefault((row["setting"], row["precision"]), {})
            place[row["text encoder"]] = f"{row['videos a second']:,.0f}"
    rows = [[NAMES[name], kind, one["frozen"], one["trained"]] for (name, kind), one in steps.items()]
    encoder = "videos trained per second, text encoder"
    return _table([found["device"], "precision", f"{encoder} frozen", f"{encoder} trained"], rows)


def _query_table(warm: Mapping[str, Any]) -> str:
    rows = []
    for kind in QUERIES:
        cells = [f"{warm[kind].get(stage, 0.0):,.1f}" for stage in (*plots.STAGES, "all")]
        rows.append([kind, *cells, f"{warm[kind]['all but text, times text']:.2f}"])
    return _table(["ms", *plots.STAGES.values(), "all", "all but text, in text's time"], rows)


def _search_table(sizes: Sequence[Mapping[str, Any]]) -> str:
    names = {
        "bare torch matmul + topk, 1 query, ms": "bare product and best 64 of float32 in memory, 1 query, ms",
        "exact scan, 1 query, ms": "exact scan, 1 query, ms",
        "exact scan over bare, 1 query": "over bare",
        "bare torch matmul + topk, 64 queries, ms": "bare, 64 queries, ms",
        "exact scan, 64 queries, ms": "exact scan, 64 queries, ms",
        "exact scan over bare, 64 queries": "over bare",
        "candidate index, 1 query, ms": "candidate index, 1 query, ms",
        "candidate index, 64 queries, ms": "candidate index, 64 queries, ms",
        "recall@10 after NMS": "its recall@10 after NMS",
    }
    rows = [
        [
            title,
            *(
                "" if key not in size else f"{size[key]:,.3g}" if size[key] < 100 else f"{size[key]:,.0f}"
                for size in sizes
            ),
        ]
        for key, title in names.items()
    ]
    rates = [size["moments"] * larger.EMBEDDING / size["exact scan, 1 query, ms"] / 1e6 for size in sizes]
    rows.append(["exact scan of 1 query reads, GB/s", *(f"{rate:.1f}" for rate in rates)])
    return _table(["", *(f"{size['moments']:,} moments" for size in sizes)], rows)


def _film_table(found: Mapping[str, Any]) -> str:
    names = {
        "rendering": "rendering and encoding",
        "pixels": "`pixels`, whole command",
        "decoded_and_scaled": "frames decoded and scaled, as `pixels` takes them",
        "decoder_alone": "decoder alone",
        "encoder_alone": "pictures handed to the encoder and encoded, without drawing",
    }
    rows = []
    for part, title in names.items():
        about = found[part]
        before = found["earlier"].get(part, {}).get("film_a_processor_second")
        busy = f"{100 * about['busy']:.0f} %" if part in ("rendering", "pixels") else ""
        share = about.get("share_of_the_decoder")
        cells = [f"{about['film_a_processor_second']:,.0f}", "" if before is None else f"{before:,.0f}"]
        cells += ["" if before is None else f"{about['times_the_earlier']:.2f}"]
        rows.append([title, *cells, "" if share is None else f"{100 * share:.0f} %", busy])
    return _table(["", "film seconds", "earlier", "ratio", "share of the decoder's", "cores busy"], rows)


def _growth_table(found: Mapping[str, Any]) -> str:
    sizes, rows = found["sizes"], []
    for group, (unit, factor) in GROWING.items():
        for name in sizes[0][group]:
            fit = found["exponents"].get(f"{group} > {name}")
            cells = [f"{factor * size[group][name]:,.4g}" for size in (sizes[0], sizes[-1])]
            title = f"{group.partition(', ')[0]}: {name}, {unit}"
            both = "" if fit is None else f"{fit['exponent']:.2f} ± {fit['standard error']:.2f}"
            rows.append([title, *cells, both])
    return _table(["", *(f"{size['videos']:,} videos" for size in (sizes[0], sizes[-1])), "exponent"], rows)


def _bytes_table(sizes: Sequence[Mapping[str, Any]]) -> str:
    chosen = (sizes[0], sizes[len(sizes) // 2], sizes[-1])
    rows = [
        [name, *(f"{size['bytes a moment'][name]:,.3g}" for size in chosen)]
        for name in sizes[0]["bytes a moment"]
    ]
    return _table(["bytes per moment", *(f"{size['videos']:,} videos" for size in chosen)], rows)


def main() -> None:
    results = read()
    (DOCS / "performance.md").write_text(page(results, TEXT.read_text(encoding="utf-8")), encoding="utf-8")
    draw(results, DOCS)


if __name__ == "__main__":
    main()

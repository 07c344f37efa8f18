"""Two reports side by side: the interval against a plain computation, what is real, and what cannot be compared."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from hypothesis import given, settings
from hypothesis import strategies as st

from mmn_index.errors import ConfigError
from mmn_index.evaluation.compare import LEAST, RESAMPLES, compare
from mmn_index.evaluation.compare_page import records, verdict
from mmn_index.evaluation.folder import write_report
from mmn_index.evaluation.report_file import Report, as_json, read_report
from mmn_index.evaluation.sections import WITHIN, Metric, Query, Section, mean, rounded

NAME = "R@1,IoU=0.5"


def report(
    values: dict[str, list[float | None] | None],
    videos: list[int],
    *,
    name: str = "a",
    drop: int = 0,
    conditions: dict[str, str] | None = None,
    definition: str = "recall within the right video",
) -> Report:
    """A report of metrics with values by query, the first few of which are left out."""
    queries = tuple(Query(str(n), f"v{video}", f"s{n}") for n, video in enumerate(videos))[drop:]
    metrics = tuple(
        Metric(key, 0.0 if x is None else mean(x), values=None if x is None else rounded(x[drop:]), main=True)
        for key, x in values.items()
    )
    section = Section(WITHIN, "some", definition, queries, metrics, conditions or {"annotations": "d"})
    return Report("what fits", (section,), {}, Path(name))


def slow_interval(differences: np.ndarray, videos: np.ndarray, seed: int, count: int) -> tuple[float, float]:
    """Drawing videos one by one, and averaging the sentences of those that were drawn."""
    names, random = sorted(set(videos.tolist())), np.random.default_rng(seed)
    means = []
    for _ in range(count):
        drawn = [names[place] for place in random.integers(len(names), size=len(names))]
        sample = np.concatenate([differences[videos == video] for video in drawn])
        means.append(sample.mean())
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def test_the_interval_is_that_of_drawing_videos_one_by_one() -> None:
    random = np.random.default_rng(5)
    videos = np.sort(random.integers(12, size=60))
    # What a video's sentences share makes them dependent, as real ones are.
    shift = random.normal(0, 20, 12)[videos]
    a = (100 * (random.random(60) < 0.5)).astype(float)
    b = a + shift + random.normal(4, 10, 60)
    found = compare(report({NAME: a.tolist()}, videos.tolist()), report({NAME: b.tolist()}, videos.tolist()))
    (one,) = found.differences
    low, high = slow_interval(b - a, videos, 0, RESAMPLES)
    assert (one.low, one.high) == pytest.approx((low, high), abs=1e-5)  # the same draws: the same seed
    other = slow_interval(b - a, videos, 1, 4000)  # and others: the same but for chance
    assert (one.low, one.high) == pytest.approx(other, abs=1.0)
    assert one.difference == pytest.approx(float((b - a).mean()), abs=1e-5)
    assert (one.queries, one.videos) == (60, len(set(videos.tolist())))
    # Sentences drawn one by one would make it far too narrow.
    single = slow_interval(b - a, np.arange(60), 0, 2000)
    assert one.high is not None
    assert one.low is not None
    assert one.high - one.low > 1.2 * (single[1] - single[0])


def test_a_report_beside_itself() -> None:
    values = np.random.default_rng(1).random(90) * 100
    same = report({NAME: values.tolist(), "mIoU": (values / 3).tolist()}, [n // 3 for n in range(90)])
    found = compare(same, same)
    assert [(one.difference, one.low, one.high) for one in found.differences] == [(0.0, 0.0, 0.0)] * 2
    assert not any(one.real for one in found.differences)
    assert found.remarks == ()
    assert verdict(found.differences) == [f"No difference: {NAME}; mIoU."]


def test_a_better_system_is_found_and_noise_is_not() -> None:
    random = np.random.default_rng(2)
    videos = [n // 4 for n in range(400)]
    hard = random.random(400)  # a sentence is as hard for one system as for the other
    a = 100.0 * (hard + random.normal(0, 0.1, 400) < 0.5)
    better = 100.0 * (hard + random.normal(0, 0.1, 400) < 0.6)
    alike = 100.0 * (hard + random.normal(0, 0.1, 400) < 0.5)
    reports = [report({NAME: x.tolist()}, videos, name=n) for x, n in ((a, "a"), (better, "b"), (alike, "c"))]
    (real,) = compare(reports[0], reports[1]).differences
    assert real.real is True
    assert 4 < real.difference < 16
    (worse,) = compare(reports[1], reports[0]).differences
    assert (worse.real, worse.difference) == (True, -real.difference)
    assert "A is really better in 1 of 1" in verdict([worse])[0]
    (noise,) = compare(reports[0], reports[2]).differences
    assert noise.real is False
    assert verdict([noise]) == [f"Not told from chance, 1 of 1: {NAME}."]
    assert "one in twenty" in verdict([real, noise])[-1]


def test_one_in_twenty_comes_out_by_chance() -> None:
    """The interval holds 0 about as often as it says where nothing differs."""
    random = np.random.default_rng(3)
    videos = [n // 3 for n in range(120)]
    # All metrics of a report share their resamples, but their values are independent here.
    a, b = ({f"m{n}": (100 * random.random(120)).tolist() for n in range(300)} for _ in range(2))
    found = compare(report(a, videos), report(b, videos)).differences
    assert 3 <= sum(one.real is True for one in found) <= 30


def test_only_what_is_common_counts() -> None:
    videos = [n // 2 for n in range(60)]
    a, b = [100.0] * 30 + [0.0] * 30, [0.0] * 60
    found = compare(report({NAME: a}, videos), report({NAME: b}, videos, drop=30, name="b"))
    (one,) = found.differences
    assert (one.a, one.b, one.queries, one.videos) == (0.0, 0.0, 30, 15)  # a's hits are not common
    assert found.sections[0].only == (30, 0)
    assert "Only a part is common to both: 30 sentences; 30 more are in a alone" in found.remarks[0]
    # A metric that some sentences do not count in, as mAP of short moments.
    some = [None if n % 2 else x for n, x in enumerate(a)]
    one, _ = compare(report({NAME: some, "all": a}, videos), report({NAME: b, "all": b}, videos)).differences
    assert (one.queries, one.videos, one.a) == (30, 30, 50.0)


def test_few_videos_tell_nothing() -> None:
    a, b = [0.0] * 20, [100.0] * 20
    for count, known in ((1, False), (LEAST - 1, False), (LEAST, True)):
        videos = [n % count for n in range(20)]
        found = compare(report({NAME: a}, videos), report({NAME: b}, videos))
        (one,) = found.differences
        assert (one.real is True) is known
        assert (one.low is not None) is known
        assert any(("too few" if not known else "rather too narrow") in remark for remark in found.remarks)


def test_numbers_without_values_are_shown_without_an_interval() -> None:
    videos = list(range(30))
    pair = [report({NAME: [float(n)] * 30, "MedRank": None}, videos) for n in range(2)]
    one, other = compare(*pair).differences
    assert one.real is True
    assert (other.real, other.low, other.queries) == (None, None, 0)
    assert records(compare(*pair))[1]["interval"] is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"conditions": {"annotations": "e"}}, r"differ in annotations \(d and e\)"),
        ({"conditions": {"annotations": "d", "NMS": "0.4"}}, r"differ in NMS \(none and 0.4\)"),
        ({"definition": "HC-STVG"}, "has nothing by the definition 'recall within the right video'"),
        ({"drop": 30}, "no sentence is common"),
    ],
)
def test_what_cannot_be_compared(change: dict[str, Any], says: str) -> None:
    videos = list(range(30))
    one = report({NAME: [1.0] * 30}, videos, name="first")
    other = report({NAME: [1.0] * 30}, videos, name="second", **change)
    with pytest.raises(ConfigError, match=f"first and second cannot be compared: .*{says}"):
        compare(one, other)


def test_other_metrics_cannot_be_compared() -> None:
    videos = list(range(30))
    one = report({NAME: [1.0] * 30}, videos)
    with pytest.raises(ConfigError, match="no metric is common to both"):
        compare(one, report({"R@1,IoU=0.7": [1.0] * 30}, videos))
    with pytest.raises(ConfigError, match="no metric has values of each sentence"):
        compare(one, report({NAME: None}, videos))


# --- report.json --------------------------------------------------------------------------------------------------


def written(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


GOOD: dict[str, Any] = json.loads(as_json(report({NAME: [0.0, 100.0, 50.5]}, [0, 1, 2])))


def change(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def act(content: dict[str, Any]) -> None:
        place: Any = content
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to

    return act


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    given = report({NAME: [0.0, 100.0, None]}, [0, 1, 2])
    found = read_report(written(tmp_path / "report.json", as_json(given)))
    assert found.sections[0].queries == given.sections[0].queries
    assert found.sections[0].metrics == given.sections[0].metrics
    assert read_report(tmp_path).sections == found.sections


METRIC = ("sections", 0, "metrics", 0)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (change("version", to=2), "is of version 2, this mmn-index reads 1"),
        (change("version", to=True), "is of version True"),
        (change("format", to="other"), "is no report of mmn-index eval"),
        (change("sections", to=[]), "has no section"),
        (change("sections", to=None), "sections: None is no list"),
        (change("sections", 0, to=7), "section 1 is 7, expected an object"),
        (change("sections", 0, "name", to=[]), "name: [] is no text"),
        (change("sections", 0, "conditions", to=[]), "conditions are []"),
        (change("sections", 0, "queries", to={}), "queries, id: None is no list"),
        (change("sections", 0, "queries", "id", to=["0"]), "queries have 1, 3, 3"),
        (change("sections", 0, "queries", "id", 0, to=0), "queries, id: 0 is no text"),
        (change("sections", 0, "queries", "video", to=["v"] * 3), ""),
        (change(*METRIC, "values", to=[1, 2]), "has 2 values for 3 queries"),
        (change(*METRIC, "values", 0, to="1"), "values: '1' is no number"),
        (change(*METRIC, "values", 0, to=True), "values: True is no number"),
        (change(*METRIC, "values", 0, to=10**400), "is no number"),
        (change(*METRIC, "values", 0, to=1e300), "is no number"),
        (change(*METRIC, "value", to="a"), "value: 'a' is no number"),
        (change(*METRIC, "unit", to="m"), "the unit is 'm'"),
        (change(*METRIC, "name", to=None), "name: None is no text"),
    ],
)
def test_damaged_reports_are_refused_in_one_line(
    tmp_path: Path, damage: Callable[[dict[str, Any]], None], says: str
) -> None:
    content = copy.deepcopy(GOOD)
    damage(content)
    path = written(tmp_path / "report.json", content)
    if not says:
        read_report(path)  # the position alone tells queries apart
        return
    with pytest.raises(ConfigError) as error:
        read_report(path)
    assert str(error.value).startswith(f"{path}: ")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 100_000,
        '{"a": NaN}',
        '{"a": Infinity}',
        "\xff",
        '{"a": ' + "9" * 5000 + "}",
    ],
    ids=lambda text: text[:12],
)
def test_what_is_no_json_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match="report"):
        read_report(path)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_damage_ends_in_a_traceback(data: st.DataObject) -> None:
    values = st.sampled_from([None, True, 0, -1, 1e308, 1e999, "x", [], {}, [[1]], "\ud800"])
    content = copy.deepcopy(GOOD)
    place: Any = content
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            place[key] = data.draw(values)
            break
        place = place[key]
    path = Path("/dev/shm" if Path("/dev/shm").is_dir() else "/tmp") / f"report-{id(data)}.json"
    try:
        path.write_text(json.dumps(content))
        found = read_report(path)
        assert all(
            math.isfinite(x) for one in found.sections[0].metrics for x in one.values or () if x is not None
        )
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017
    finally:
        path.unlink()


def test_the_command(tmp_path: Path, command: Command) -> None:
    videos = [n // 2 for n in range(80)]
    a, b = [0.0, 100.0] * 40, [100.0, 100.0, 0.0, 100.0] * 20
    for name, values in (("a", a), ("b", b)):
        write_report(tmp_path / name, report({NAME: values, "mIoU": a}, videos))
    pair = ("--compare", tmp_path / "a", tmp_path / "b" / "report.json")
    result = command.ok("eval", *pair)
    assert f"A: {tmp_path / 'a'}" in result.stdout
    row = next(line.split() for line in result.stdout.splitlines() if line.startswith(NAME))
    assert row[1:4] == ["50.00", "75.00", "+25.00"]
    assert row[-1] == "real"
    assert f"B is really better in 1 of 1: {NAME}." in result.stdout
    found = [json.loads(line) for line in command.ok("eval", *pair, "--json").stdout.splitlines()]
    assert [(one["metric"], one["real"], one["sentences"], one["videos"]) for one in found] == [
        (NAME, True, 80, 40),
        ("mIoU", False, 80, 40),
    ]
    assert command.ok("eval", *pair, "--json").stdout == command.ok("eval", *pair, "--json").stdout
    command.ok("eval", *pair, "-o", tmp_path / "c")
    assert json.loads((tmp_path / "c" / "comparison.json").read_text()) == found
    assert "<svg " in (tmp_path / "c" / "comparison.html").read_text()
    assert NAME in (tmp_path / "c" / "comparison.md").read_text()
    (tmp_path / "empty").mkdir()
    command.fails(
        "eval", "--compare", tmp_path / "a", tmp_path / "empty", says="the folder holds no report.json"
    )
    command.fails("eval", "--compare", tmp_path / "a", tmp_path / "none", says="no such file")
    command.fails("eval", "--compare", tmp_path / "a", "/dev/null", says="/dev/null: is no file")
    refused = command.run("eval", *pair, "--annotations", "a.json", "model")
    assert refused.exit_code == 2
    assert "leave out INDEX|MODEL, --annotations" in refused.stderr


def test_the_page_says_with_what_each_was_measured(world: Path, tmp_path: Path, command: Command) -> None:
    for score in ("collection", "product"):
        made = ("--annotations", world / "train.json", "--score", score, "-o", tmp_path / score)
        command.ok("eval", world / "collection.mmn", *made)
    command.ok("eval", "--compare", tmp_path / "collection", tmp_path / "product", "-o", tmp_path / "both")
    text = (tmp_path / "both" / "comparison.html").read_text()
    assert "name collection" in text
    assert "name product" in text
    assert text.count("NMS") >= 2

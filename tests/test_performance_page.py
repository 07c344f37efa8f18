"""docs/performance.md says what benchmarks/results says, and nothing else."""

import copy
import math
import re
from pathlib import Path
from typing import Any

import goals
import growth
import larger
import performance_page
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def results() -> dict[str, Any]:
    return performance_page.read()


def template() -> str:
    return performance_page.TEXT.read_text(encoding="utf-8")


def test_the_page_is_made_of_the_results(results: dict[str, Any]) -> None:
    found = performance_page.page(results, template())
    message = "docs/performance.md is not what the results make: run benchmarks/performance_page.py"
    assert found == (ROOT / "docs" / "performance.md").read_text(encoding="utf-8"), message
    assert "nan" not in found
    assert "{" not in found


def test_the_pictures_show_the_results(results: dict[str, Any], tmp_path: Path) -> None:
    """Text, which another version of matplotlib may put elsewhere."""

    def texts(path: Path) -> list[str]:
        return re.findall(r">([^<>]+)</text>", path.read_text(encoding="utf-8"))

    performance_page.draw(results, tmp_path)
    for name in performance_page.PICTURES:
        assert texts(tmp_path / name) == texts(ROOT / "docs" / name)
        assert f"]({name})" in template()


def test_a_picture_is_the_same_each_time(results: dict[str, Any], tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        performance_page.draw(results, tmp_path / folder)
    for name in performance_page.PICTURES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_every_goal_has_an_explanation_and_its_figures(results: dict[str, Any]) -> None:
    """Where nothing is reached, the page still says why."""
    poor = copy.deepcopy(results)
    for name in goals.NAMES:
        for kind in ("embedding a video", "training step a video"):
            poor["embedding"][name][kind]["ratio"] = 0.5
    poor["extraction"]["pixels"] |= {"times_the_earlier": 0.5, "busy": 0.1}
    poor["extraction"]["rendering"]["times_the_earlier"] = 0.5
    poor["query"]["warm, ms"][goals.LISTS]["all but text, times text"] = 9.0
    for size in poor["search"]["sizes"]:
        size |= {"exact scan over bare, 1 query": 9.0, "exact scan over bare, 64 queries": 9.0}
        size["candidate index, 1 query, ms"] = 99.0
    assert not any(goal.met for goal in goals.goals(poor))
    found = performance_page.page(poor, "{goals}\n{missed}")
    assert found.count("**no**") == found.count("\n- ") == len(list(goals.goals(poor))) == 13
    assert "{" not in found
    good = copy.deepcopy(results)
    good["extraction"]["pixels"]["times_the_earlier"] = 3.0
    assert "| 3.00 x | yes |" in performance_page.page(good, "{goals}")


def test_a_figure_that_there_is_not_is_an_error(results: dict[str, Any]) -> None:
    with pytest.raises(KeyError, match="speed of light"):
        performance_page.page(results, "{speed of light}")


def test_exponents_are_those_of_the_last_sizes() -> None:
    sizes = [{"videos": n, "seconds": {"all": 3 * n**1.5, "none": 0.0}} for n in (10, 100, 1000, 10_000)]
    constant = {"videos": 1, "seconds": {"all": 1e6, "none": 0.0}}
    found = growth.exponents([constant, *sizes])
    assert found == {"seconds > all": {"exponent": 1.5, "standard error": 0.0}}
    assert growth.exponents(sizes[:2]) == {}


def test_the_standard_error_is_that_of_least_squares() -> None:
    # slope 1.5 / 5, residuals (0, 0.1, -0.2, 0.1) * log 10 about the line
    found = growth.exponent([1, 10, 100, 1000], [10**y for y in (0.0, 0.4, 0.4, 1.0)])
    assert found == {"exponent": 0.3, "standard error": round(math.sqrt(0.06 / 2 / 5), 3)}


def test_larger_collections_are_computed_from_the_figures(results: dict[str, Any]) -> None:
    names = ("scaling", "search", "embedding", "extraction", "gpu_settings")
    measured = larger.Measured(*(results[name] for name in names))
    one, ten = larger.Collection(measured, 1e6), larger.Collection(measured, 1e7)
    assert one.moments == 1e6 * 30 * 1104
    assert ten.machines == pytest.approx(10 * one.machines, rel=0.1)
    assert one.machines >= one.moments * larger.CODE / (larger.room() * 1e9)
    assert one.rows()["embeddings, float16"] == "34 TB"
    lists = larger.bisected(measured.centres, 1000.0)
    assert measured.centres(lists) == pytest.approx(1000.0)
    place = "changing, s > sync of unchanged files"
    last = results["scaling"]["sizes"][-1]
    took = last["changing, s"]["sync of unchanged files"]
    assert measured.reaches(place, took) == pytest.approx(last["videos"])
    assert measured.reaches(place, 100 * took) <= 100 * last["videos"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.123, "0.12"), (123.4, "120"), (12_345, "12,000"), (3.31e12, "3.3 trillion")]
)
def test_numbers_have_two_digits(value: float, text: str) -> None:
    assert larger.said(value) == text


def test_a_gpu_has_a_row_for_each_form(results: dict[str, Any]) -> None:
    host = {"form": "as build embeds, from and to the processor", "videos embedded a second": 500.0}
    tiles = {"form": "tiles", "precision": "float16", "videos embedded a second": 600.0}
    tiles["share of the product in this precision"] = 0.4
    step = {"precision": "float32", "steps a second": 2.0, "videos a second": 96.0}
    rows = [tiles, host, *({**step, "text encoder": kind} for kind in ("frozen", "trained"))]
    gpu = {"device": "card", "figures": [{"setting": "activitynet", **row} for row in rows]}
    found = performance_page.page({**results, "gpu_settings": gpu}, "{gpu}\n\n{gpu training}\n\n{larger}")
    assert "| ActivityNet Captions | tiles | float16 | 600 | 40 % |" in found
    assert "| ActivityNet Captions | as build embeds, from and to the processor |  | 500 |  |" in found
    assert "| ActivityNet Captions | float32 | 96 | 96 |" in found
    # 30 million videos at 500 a second
    assert "17 GPU hours" in found

"""The page of a report and of a comparison in a real browser: light and dark, wide and narrow, without a script."""

import shutil
from pathlib import Path

import pytest
from conftest import Command
from playwright.sync_api import Browser
from test_page import AXE

from mmn_index.evaluation.plots import Plot, Series, svg


@pytest.fixture(scope="module")
def pages(
    world: Path, lively: Path, command: Command, tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    """A report with several sections and a long name, and a comparison of two models."""
    folder = tmp_path_factory.mktemp("reports")
    split = folder / f"{'a-long-name-' * 12}<b>.json"
    shutil.copy(world / "train.json", split)
    for name, root in (("one", world), ("other", lively)):
        inputs = ("--annotations", split, "--features", world / "features.h5", "--seen", split)
        command.ok("eval", root / "collection.mmn", *inputs, "-o", folder / name)
    command.ok("eval", "--compare", folder / "one", folder / "other", "-o", folder / "both")
    return [folder / "one" / "report.html", folder / "both" / "comparison.html"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
def test_the_page_is_readable(pages: list[Path], browser: Browser, scheme: str, width: int) -> None:
    for path in pages:
        page = browser.new_page(
            viewport={"width": width, "height": 800},
            color_scheme="dark" if scheme == "dark" else "light",
            java_script_enabled=True,
        )
        said: list[str] = []
        page.on("console", lambda message, said=said: said.append(message.text))
        page.on("request", lambda request, said=said: said.append(request.url))
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        drawn = page.locator("figure svg").all()
        assert len(drawn) >= 2
        for one in drawn:
            box = one.bounding_box()
            assert box is not None
            assert box["width"] > 250
            assert box["x"] + box["width"] <= width
        # Lines have the page's colours: a dark one on light paper, a light one on dark.
        ink = page.evaluate("getComputedStyle(document.querySelector('figure svg text')).fill")
        brightness = sum(int(part) for part in ink[4:-1].split(",")) / 3
        assert (brightness > 128) is (scheme == "dark")
        assert said == [path.as_uri()]  # nothing else was loaded, nothing went wrong
        page.evaluate(AXE)
        violations = page.evaluate("axe.run()")["violations"]
        assert [(one["id"], one["nodes"][0]["html"][:200]) for one in violations] == []
        page.close()


def test_plots_that_share_a_page_share_no_id() -> None:
    one = Plot("a", "x", "y", (Series("s", (0, 1), (0, 50)),))
    other = Plot("b", "x", "y", (Series("s", (0, 1), (0, 50)),))
    assert svg(one) == svg(one)
    ids = [{part.split('"')[0] for part in svg(plot).split(' id="')[1:]} for plot in (one, other)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert svg(Plot("<b>&", "x", "y", one.series)).startswith(
        '<svg role="img" aria-label="&lt;b&gt;&amp;. y against x."'
    )

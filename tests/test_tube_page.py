"""Boxes of tubes where people see them: over HTTP, on the page of the server, on the page that `--html` writes."""

import base64
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from mmn_index.cli.page import picture_times
from PIL import Image
from playwright.sync_api import Page, expect
from starlette.testclient import TestClient
from test_page import serving, visit  # noqa: F401  (a fixture)
from test_tubes_of_videos import COLOURS, RATE, SECONDS, box_at, boxes_json, make_video
from tube_world import SETTING

from mmn_index.client import Client
from mmn_index.server.app import create_app
from mmn_index.server.settings import Settings

SENTENCE = "a person opens the door"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, text_model: Path, command: Command) -> Path:
    folder = tmp_path_factory.mktemp("tube_page")
    truths = {}
    for name in ("a", "b/c"):
        make_video(folder / "films" / f"{name}.mp4")
        boxes = [[x, y, x2 - x, y2 - y] for x, y, x2, y2 in (box_at(0, n) for n in range(20))]
        truths[f"{name}.mp4"] = {"bbox": boxes, "st_frame": 1, "ed_frame": 20, "English": SENTENCE}
    (folder / "truths.json").write_text(json.dumps(truths))
    found = boxes_json(folder / "boxes.json", ["a", "b/c"])
    command.ok("tubes", folder / "films", "-o", folder / "tubes.h5", "--boxes", found)
    setting = SETTING.format(base="stvg-corrected", text=text_model).replace("epochs: 6", "epochs: 1")
    (folder / "mine.yaml").write_text(setting)
    files = ("--annotations", folder / "truths.json", "--features", folder / "tubes.h5")
    command.ok("train", *files, "--config", folder / "mine.yaml", "-o", folder / "run")
    command.ok("build", folder / "run" / "model", folder / "tubes.h5", "-o", folder / "films.mmn")
    return folder / "films.mmn"


@pytest.fixture(scope="module")
def client(root: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Settings((root,))), base_url="http://localhost") as opened:
        yield opened


def expected(hit: dict[str, Any]) -> list[list[float]]:
    """The boxes of a hit, by the rule that drew the film."""
    frames = range(hit["first_frame"] - 1, hit["first_frame"] - 1 + len(hit["boxes"]))
    return [box_at(hit["tube"], number) for number in frames]


def test_boxes_over_http(root: Path, client: TestClient, command: Command) -> None:
    body = {"query": SENTENCE, "k": 6}
    found = client.post("/v1/search", json=body).json()
    (answer,) = found["answers"]
    local = [
        json.loads(line)
        for line in command.ok("search", SENTENCE, "-k", 6, "--index", root, "--json").stdout.splitlines()
    ]
    names = ("video", "tube", "start", "end", "first_frame", "frame_rate", "frame_size", "boxes")
    for hit, own in zip(answer["hits"], local, strict=True):
        assert [hit[name] for name in names] == [own[name] for name in names]
        assert np.allclose(hit["boxes"], expected(hit), atol=0.006)
        path = f"/v1/videos/{hit['video']}"
        part = {"tube": hit["tube"], "start": hit["start"], "end": hit["end"]}
        between = client.get(f"{path}/boxes", params=part).json()
        assert (between["first_frame"], between["boxes"]) == (hit["first_frame"], hit["boxes"])
        (one,) = client.get(f"{path}/moments", params={"query": SENTENCE, "tube": hit["tube"]}).json()["maps"]
        assert (one["tube"], one["start"]) == (hit["tube"], pytest.approx(2.0 * hit["tube"]))
    assert client.get("/v1/indexes").json()[0]["tubes"] is True
    assert client.get("/v1/videos/a/boxes", params={"tube": 2}).status_code == 404
    assert client.get("/v1/videos/a/boxes", params={"tube": 1, "start": 5.5}).status_code == 404
    assert client.get("/v1/videos/a/boxes", params={"tube": -1}).status_code == 422
    assert client.get("/v1/videos/a/boxes").status_code == 422
    like = {"video": "a", "start": 2.0, "end": 3.0, "tube": 1}
    hits = client.post("/v1/search", json={"like": like, "k": 50}).json()["answers"][0]["hits"]
    assert {(hit["video"], hit["tube"]) for hit in hits} >= {("a", 0), ("b/c", 1)}
    assert client.post("/v1/search", json={"like": like | {"tube": 5}}).status_code == 422
    pairs = client.post("/v1/search", json={"query": SENTENCE, "then": SENTENCE}).json()["pairs"]
    for pair in pairs:
        for part in (pair["first"], pair["second"]):
            assert np.allclose(part["boxes"], expected(part), atol=0.006)


def test_tables_name_the_tube(root: Path, client: TestClient, command: Command, tmp_path: Path) -> None:
    moments = [
        {"video": "a", "start": 2.0, "end": 3.0, "text": SENTENCE, "tube": 1},
        {"video": "a", "start": 0, "end": 1},
    ]
    table = client.post("/v1/export", json={"format": "csv", "moments": moments}).text.splitlines()
    assert [line.rpartition(",")[2] for line in table] == ["tube", "1", ""]
    rows = client.post("/v1/export", json={"format": "json", "moments": moments}).json()
    assert [row.get("tube") for row in rows] == [1, None]
    command.ok("export", SENTENCE, "--index", root, "-k", 3, "--format", "csv", "-o", tmp_path / "t.csv")
    head, *lines = (tmp_path / "t.csv").read_text().splitlines()
    assert head.endswith(",uri,tube")
    assert {line.rpartition(",")[2] for line in lines} <= {"0", "1"}


def test_boxes_through_a_client(root: Path, command: Command) -> None:
    with serving(root) as address, Client(address) as client:
        hit = client.search(SENTENCE, k=1).answers[0].hits[0]
        assert hit.boxes is not None
        assert hit.frame_size == (160, 96)
        assert isinstance(hit.boxes[0], tuple)
        lines = {
            where: command.ok("search", SENTENCE, *more, "--json").stdout.splitlines()
            for where, more in (("there", ("--server", address)), ("here", ("--index", root)))
        }
        there, here = ([json.loads(line) for line in lines[where]] for where in ("there", "here"))
        for one, other in zip(there, here, strict=True):
            assert {name: other[name] for name in one} == one
            assert "boxes" in one
        table = command.ok("search", SENTENCE, "--server", address).stdout
        assert table.split()[:3] == ["rank", "video", "tube"]


def colour_at(picture: bytes, x: float, y: float) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(picture)).convert("RGB"))[int(y), int(x)].astype(int)


def test_the_box_lies_on_the_person(
    root: Path,
    visit: Callable[..., Page],  # noqa: F811
) -> None:
    """On the card, in the viewer while it plays, and after a search for more like it."""
    with serving(root) as address:
        page = visit(f"{address}?q=a+person+opens+the+door&min_length=1&max_length=4")
        cards = page.locator(".card")
        expect(cards.first.locator(".shot img.there")).to_be_visible()
        for number in range(min(4, cards.count())):
            card = cards.nth(number)
            card.scroll_into_view_if_needed()
            expect(card.locator(".shot img.there")).to_have_css("opacity", "1")
            who = int(card.locator(".tube").inner_text().removeprefix("tube "))
            box = card.locator(".boxes:not(.playing) rect").last.bounding_box()
            assert box is not None
            seen = colour_at(page.screenshot(), box["x"] + box["width"] / 2, box["y"] + box["height"] / 3)
            assert np.abs(seen - COLOURS[who]).max() < 40, (number, who, seen)
            address = card.locator(".shot img").get_attribute("src") or ""
            (second,) = re.findall(r"[?&]t=([\d.]+)", address)
            assert float(second) * RATE % 1 == pytest.approx(0.5, abs=0.02)  # of one frame, not between two
        first = cards.first
        who = int(first.locator(".tube").inner_text().removeprefix("tube "))
        first.locator(".open").click()
        expect(page.locator("#viewer .boxes")).to_be_visible()
        assert re.search(rf"open=[\d.-]+%7E{who}%40", page.url)
        page.evaluate("document.querySelector('#viewer video').pause()")
        page.wait_for_timeout(200)
        now = page.evaluate("document.querySelector('#viewer video').currentTime")
        drawn = float(page.locator("#viewer .boxes rect").last.get_attribute("x") or "nan")
        assert drawn in [pytest.approx(box_at(who, int(now * RATE) + more)[0]) for more in (-1, 0, 1)]
        page.evaluate(f"document.querySelector('#viewer video').currentTime = {SECONDS - 0.05}")
        expect(page.locator("#viewer .boxes")).to_be_hidden()
        page.keyboard.press("Escape")
        first.hover()
        first.locator(".like").click()
        expect(page.locator("#like")).to_contain_text(f"tube {who}")
        expect(page.locator("#count")).to_contain_text("moment")


def test_pictures_are_of_the_frames_of_their_boxes() -> None:
    """Times are kept in float32 and rounded; the edge of two frames would be in one or the other."""
    for rate in (10.0, 15.0, 24000 / 1001, 30000 / 1001):
        for first, count in ((1, 12), (7, 1), (100, 24), (151, 5)):
            start, end = (float(np.float32(frame / rate)) for frame in (first, first + count))
            frames = [time * rate - 0.5 for time in picture_times(start, end, rate)]
            assert frames == pytest.approx([round(frame) for frame in frames], abs=1e-6)
            assert first <= frames[0] < first + count
            assert first <= frames[-1] < first + count
    assert picture_times(0.0, 6.0, None)[0] == 0.5


def test_both_moments_of_a_pair_have_their_box(
    root: Path,
    visit: Callable[..., Page],  # noqa: F811
) -> None:
    with serving(root) as address:
        page = visit(
            f"{address}?q=a+person+opens+the+door&then=a+person+reads+a+book&min_length=1&max_length=2"
        )
        card = page.locator(".card").first
        for half in range(2):
            expect(card.locator(".shot img.there").nth(half)).to_have_css("opacity", "1")
        said = card.locator(".tube").inner_text().removeprefix("tube ").split(" + ")
        who = [int(one) for one in said] * (3 - len(said))
        checked = 0
        for half in range(2):
            image = card.locator(".shot img").nth(half).bounding_box()
            box = card.locator(".boxes:not(.playing)").nth(half).locator("rect").last.bounding_box()
            assert image is not None
            assert box is not None
            x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 3
            if image["x"] < x < image["x"] + image["width"]:  # the sides of a picture are cut off
                seen = colour_at(page.screenshot(), x, y)
                assert np.abs(seen - COLOURS[who[half]]).max() < 40, (half, who, seen)
                checked += 1
        assert checked
        card.locator(".shot").hover()
        expect(card).to_have_class(re.compile("plays"))
        expect(card.locator(".boxes.playing rect").last).to_be_visible()
        expect(card.locator(".boxes:not(.playing)").first).to_be_hidden()


def test_the_page_of_a_search_draws_boxes(root: Path, tmp_path: Path, command: Command) -> None:
    out = tmp_path / "page.html"
    command.ok("search", SENTENCE, "--index", root, "-k", 2, "--min-length", 1, "--html", out)
    text = out.read_text()
    assert "tube " in text
    pictures = re.findall(r"data:image/jpeg;base64,([^\"]+)", text)
    assert len(pictures) == 12
    for picture in pictures:
        image = np.array(Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")).astype(int)
        yellow = (image[..., 0] > 170) & (image[..., 1] > 130) & (image[..., 2] < 110)
        rows, columns = np.nonzero(yellow)
        assert len(rows) > 50
        inside = image[rows.min() + 8 : rows.max() - 8, columns.min() + 8 : columns.max() - 8].reshape(-1, 3)
        assert min(np.abs(np.median(inside, axis=0) - one).max() for one in COLOURS) < 40

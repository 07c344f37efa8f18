"""The page of `mmn-index serve` in a real browser: everything that a person can do with it, and every state."""

import configparser
import csv
import io
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import axe_playwright_python
import httpx
import pytest
import uvicorn
from conftest import Command
from mmn_index.index_build.change import set_ranking
from moving import make_video
from playwright.sync_api import Browser, Page, Request, Route, expect

from mmn_index.confidence import QUANTITIES, Calibration
from mmn_index.index import IndexWriter, MomentIndex
from mmn_index.server.app import create_app
from mmn_index.server.page import STATIC
from mmn_index.server.session import cookie_of
from mmn_index.server.settings import Settings

DASH = "\u2013"  # between the two times of a moment
TOKEN = "a-token-that-nobody-guesses"
DOOR = "a person opens the door"
EVIL = "\"quoted\" 'n' <img src=x onerror=hacked=1> <script>hacked=1<script>"
EVIL_CAMERA = "<script>hacked=1</script> \"a\" and 'b', =c"
SURE = 0.55  # of every hit: the calibration has slopes of zero
LENGTH, LONG = 6.0, 30.0
WINDOW = 8
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def root(pixel_model: Path, tmp_path_factory: pytest.TempPathFactory, command: Command) -> Path:
    """An index of a few small videos: one has a name that is HTML, one is long, one is gone."""
    folder = tmp_path_factory.mktemp("page")
    for name in ("one", "two", "gone", EVIL):
        make_video(folder / "films" / f"{name}.mp4", seconds=LENGTH)
    make_video(folder / "films" / "long.mp4", seconds=LONG, sound=None)
    make_video(folder / "films" / "old.avi", seconds=LENGTH, codec="mpeg4", sound=None)
    with (folder / "about.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["video_id", "camera", "recorded"])
        for number, name in enumerate(("one", "two", "gone", EVIL, "long", "old")):
            camera = EVIL_CAMERA if name == EVIL else ("garden" if name == "two" else "porch")
            table.writerow([name, camera, f"2026-01-{10 + number}"])
    made = ["build", folder / "films", "--model", pixel_model, "-o", folder / "films.mmn", "--window", WINDOW]
    command.ok(*made, "--metadata", folder / "about.csv", "--workers", 1)
    (folder / "films" / "gone.mp4").unlink()
    index = MomentIndex(folder / "films.mmn")
    level = Calibration(0.2006707, (0.0,) * len(QUANTITIES), 100, 0.0)  # log(0.55 / 0.45)
    set_ranking(folder / "films.mmn", index.manifest.score, level, index.version)
    return folder / "films.mmn"


@pytest.fixture(scope="module")
def uncalibrated(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same index before it was calibrated."""
    bare = Path(shutil.copytree(root, tmp_path_factory.mktemp("bare") / "films.mmn"))
    with IndexWriter(bare) as writer:
        writer.publish(replace(MomentIndex(bare).manifest, calibration=None))
    return bare


@contextmanager
def serving(*roots: Path, **settings: Any) -> Iterator[str]:
    app = create_app(Settings(roots, cache_dir=roots[0].parent / "cache", **settings))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive()
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def address(root: Path) -> Iterator[str]:
    with serving(root) as found:
        yield found


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open a page; nothing that it does may be an error on its console or a breach of its policy."""
    opened: list[tuple[Page, list[str]]] = []

    def go(where: str, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        page, said = context.new_page(), []
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        opened.append((page, said))
        page.goto(where)
        return page

    yield go
    for page, said in opened:
        bad = [text for text in said if not text.startswith("Failed to load resource")]
        page.context.close()
        assert not bad


def ask(page: Page, sentence: str = DOOR) -> None:
    page.get_by_role("combobox", name="Describe a moment").fill(sentence)
    page.keyboard.press("Enter")
    expect(page.locator("#count")).to_have_text(
        re.compile(r"^\d+ (moments?|pairs? of moments) in \d+ videos?$")
    )
    expect(page.locator("#results")).not_to_have_attribute("aria-busy", "true")  # the count may be of before


def card_of(page: Page, video: str) -> Any:
    return page.locator(".card", has=page.get_by_text(video, exact=True)).first


def hits(page: Page) -> list[tuple[str, str]]:
    expect(page.locator(".card .name").first).to_be_attached()
    names = page.locator(".card .name").all_text_contents()
    return list(zip(names, page.locator(".card .time").all_text_contents(), strict=True))


def clock(text: str) -> float:
    minutes, seconds = text.strip().split(":")
    return 60 * int(minutes) + float(seconds)


def span(text: str) -> tuple[float, float]:
    start, end = (clock(part) for part in text.split(DASH))
    return start, end


def now(page: Page, selector: str = "#viewer video") -> float:
    return float(page.evaluate("(s) => document.querySelector(s)?.currentTime ?? -1", selector))


def advances(page: Page, selector: str, start: float, end: float) -> None:
    """It plays, in a moment only: looked at for long enough to begin again where it is short."""
    page.wait_for_function("(s) => document.querySelector(s)?.currentTime > 0", arg=selector)
    page.wait_for_function(
        "([s, a, b]) => { const t = document.querySelector(s).currentTime; return t >= a && t <= b; }",
        arg=[selector, start - 0.1, end + 0.1],
    )
    seen = page.evaluate(
        """async (s) => { const seen = [];
        for (let n = 0; n < 8; n += 1) {
            seen.push(document.querySelector(s).currentTime);
            await new Promise((next) => setTimeout(next, 50));
        }
        return seen; }""",
        selector,
    )
    assert all(start - 0.15 <= time <= end + 0.15 for time in seen), (start, end, seen)
    assert len({round(time, 2) for time in seen}) >= 4, seen


def accessible(page: Page) -> None:
    """What axe-core finds wrong with what is shown."""
    # Colours in transition are at their end; what shimmers without one stays as it is.
    page.evaluate("document.getAnimations().forEach((a) => { try { a.finish(); } catch {} })")
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    found = page.evaluate("async () => (await axe.run({resultTypes: ['violations']})).violations")
    said = [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found]
    assert not said, said


def refuse(page: Page, call: str, **answer: Any) -> None:
    page.route(f"**/v1/{call}", lambda route: route.fulfill(**answer))


def problem(status: int, detail: str, **headers: str) -> dict[str, Any]:
    body = json.dumps({"title": "", "status": status, "detail": detail})
    return {
        "status": status,
        "body": body,
        "headers": {"Content-Type": "application/problem+json", **headers},
    }


def test_every_file_of_the_page_is_packaged() -> None:
    config = configparser.ConfigParser()
    config.read(STATIC.parents[2] / "setup.cfg")
    patterns = config["options.package_data"]["mmn_index"].split()
    packaged = {path for pattern in patterns for path in STATIC.parents[1].glob(pattern)}
    assert {path for path in STATIC.rglob("*") if path.is_file()} <= packaged
    names = {path.name for path in STATIC.iterdir()}
    assert {"index.html", "app.js", "base.css"} <= names
    for path in STATIC.glob("*.*"):  # nothing of it comes from elsewhere, or is read as HTML
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|innerHTML|insertAdjacentHTML|document\.write|\beval\(", text), (
            path.name
        )


def test_a_sentence_is_searched(visit: Callable[..., Page], address: str) -> None:
    page = visit(address)
    expect(page.get_by_role("heading", name="Find the moment")).to_be_visible()
    expect(page.get_by_text("6 videos", exact=True)).to_be_visible()
    accessible(page)
    ask(page)
    answer = httpx.post(f"{address}v1/search", json={"query": DOOR, "k": 24}).json()["answers"][0]
    assert [name for name, _ in hits(page)] == [hit["video"] for hit in answer["hits"]]
    for (_, time), hit in zip(hits(page), answer["hits"], strict=True):
        assert span(time) == pytest.approx((hit["start"], hit["end"]), abs=0.051)
    videos = len({hit["video"] for hit in answer["hits"]})
    expect(page.locator("#live")).to_have_text(f"24 moments in {videos} videos")
    expect(page.locator(".card .sure").first).to_contain_text("55 % · more likely than not")
    page.get_by_role("button", name="✓ Exact").click()
    expect(page.get_by_text("This list is proven")).to_be_visible()
    page.keyboard.press("Escape")
    accessible(page)
    page.get_by_role("button", name="More moments").click()
    expect(page.locator("#count")).to_have_text(re.compile(r"^48 moments"))
    assert "k=48" in page.url


def test_recent_searches(visit: Callable[..., Page], address: str) -> None:
    page = visit(address)
    for sentence in (DOOR, "a person reads a book"):
        ask(page, sentence)
    page.reload()
    box = page.get_by_role("combobox", name="Describe a moment")
    box.fill("")
    options = page.locator("#recent").get_by_role("option")
    assert options.all_text_contents() == ["a person reads a book", DOOR]
    accessible(page)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    expect(box).to_have_value(DOOR)
    expect(page).to_have_url(re.compile("opens"))
    box.fill("book")
    assert options.all_text_contents() == ["a person reads a book"]
    page.get_by_role("button", name="Clear recent searches").click()
    box.fill("")
    expect(options).to_have_count(0)


def test_what_is_typed_while_the_page_loads_stays(visit: Callable[..., Page], address: str) -> None:
    page, held = visit(address), list[Route]()
    page.route("**/v1/indexes", lambda route: held.append(route))
    with page.expect_request("**/v1/indexes"):
        page.reload(wait_until="domcontentloaded")
    box = page.get_by_role("combobox", name="Describe a moment")
    box.fill(DOOR)
    held[0].continue_()
    expect(page.get_by_role("heading", name="The videos")).to_be_visible()
    expect(box).to_have_value(DOOR)
    box.press("Enter")
    expect(page.locator("#count")).to_have_text(re.compile("moments in"))


def test_a_card_plays_its_moment(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}?q={DOOR}")
    card = card_of(page, "two")
    start, end = span(card.locator(".time").text_content())
    card.locator(".shot").hover()
    advances(page, ".card video", start, end)
    assert page.evaluate("document.querySelector('.card video').muted")
    other = card_of(page, "long")
    other.locator(".shot").hover()
    advances(page, ".card video", *span(other.locator(".time").text_content()))
    expect(page.locator(".card video")).to_have_count(1)
    page.mouse.move(5, 5)
    expect(page.locator(".card video")).to_have_count(0)


def test_a_card_begins_again_at_its_start(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}?q={DOOR}&video=one&max_length=1&before=4")
    page.locator(".card .shot").first.hover()
    start, end = span(page.locator(".card .time").first.text_content() or "")
    page.wait_for_function("() => document.querySelector('.card video')?.currentTime > 0")
    assert end - start <= 1.1
    seen = page.evaluate(
        """async () => { const seen = [];
        for (let n = 0; n < 40; n += 1) {
            seen.push(document.querySelector(".card video").currentTime);
            await new Promise((next) => setTimeout(next, 50));
        }
        return seen; }"""
    )
    assert all(start - 0.15 <= time <= end + 0.15 for time in seen), (start, end, seen)
    assert any(later < time - 0.3 for time, later in pairwise(seen)), seen


def test_less_motion_plays_on_a_key_or_a_click_only(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}?q={DOOR}", reduced_motion="reduce")
    card = card_of(page, "two")
    card.locator(".shot").hover()
    page.wait_for_timeout(500)
    assert page.locator(".card video").count() == 0
    card.get_by_role("button", name="Play two").click()
    advances(page, ".card video", *span(card.locator(".time").text_content()))
    accessible(page)


def test_a_video_is_opened_at_its_moment_and_sought_by_its_time_line(
    visit: Callable[..., Page], address: str
) -> None:
    page = visit(f"{address}?q={DOOR}")
    card = card_of(page, "long")
    start, _ = span(card.locator(".time").text_content())
    card.get_by_role("button", name="Open long").click()
    viewer = page.get_by_role("dialog", name="long")
    expect(viewer).to_be_visible()
    page.wait_for_function("() => document.querySelector('#viewer video')?.currentTime > 0")
    advances(page, "#viewer video", start, start + 5)
    assert f"open={start:g}"[:6] in page.url
    own = [time for name, time in hits(page) if name == "long"]
    marks = viewer.locator(".mark")
    expect(marks).to_have_count(len(own))
    page.evaluate("document.querySelector('#viewer video').pause()")
    track = viewer.get_by_role("slider", name="Place in the video")
    box = track.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + 3)
    assert now(page) == pytest.approx(LONG / 2, abs=0.5)
    track.focus()
    page.keyboard.press("PageUp")
    assert now(page) == pytest.approx(LONG / 2 + 10, abs=0.5)
    page.keyboard.press("ArrowLeft")
    assert now(page) == pytest.approx(LONG / 2 + 9, abs=0.5)
    expect(track).to_have_attribute("aria-valuetext", "0:24 of 0:30")
    marks.last.click()
    first = span(re.sub(r".*: (.*) to (.*),.*", rf"\1{DASH}\2", marks.last.get_attribute("aria-label") or ""))
    advances(page, "#viewer video", first[0], first[0] + 5)
    accessible(page)
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    assert "open=" not in page.url


def test_cells_of_the_map_are_read_and_played(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}?q={DOOR}&open=0-1@two")
    canvas = page.get_by_role("application", name="Map of all moments")
    expect(canvas).to_be_visible()
    (shown,) = httpx.get(f"{address}v1/videos/two/moments", params={"query": DOOR}).json()["maps"]
    clips = len(shown["scores"])
    size = shown["length"] / clips
    assert shown["length"] == pytest.approx(LENGTH, abs=0.2)
    box = canvas.bounding_box()
    assert box is not None
    side = box["width"] - 44 - 12
    # The cell of the clips 2 to 5.
    x, y = box["x"] + 44 + side * 2.5 / clips, box["y"] + 8 + side * (clips - 5.5) / clips
    page.mouse.move(x, y)
    tip = page.locator(".tip")
    expect(tip).to_be_visible()
    text = tip.text_content() or ""
    assert span(text.split("score")[0]) == pytest.approx((2 * size, 6 * size), abs=0.06)
    assert float(text.split("score")[1]) == pytest.approx(shown["scores"][2][5], rel=0.01)
    page.mouse.click(x, y)
    advances(page, "#viewer video", 2 * size, 6 * size)
    assert f"open={2 * size:.1f}"[:8] in page.url
    # Keys: from the cell that plays to its neighbours; the reader hears each.
    canvas.focus()
    page.keyboard.press("ArrowRight")
    heard = page.locator(".map-box [aria-live]")
    expect(heard).to_contain_text("score")
    start, end = span((heard.text_content() or "").split(",")[0].replace("to", DASH))
    assert (start, end) == pytest.approx((3 * size, 6 * size), abs=0.06)
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    assert now(page) == pytest.approx(3 * size, abs=0.5)
    expect(page.locator(".viewer-time")).to_contain_text(DASH)
    # The colours follow the scores: the best cell is the lightest.
    light = page.evaluate(
        """([best, worst]) => { const pen = document.querySelector(".map").getContext("2d");
        const dense = devicePixelRatio;
        return [best, worst].map(([x, y]) => [...pen.getImageData(x * dense, y * dense, 1, 1).data]
            .slice(0, 3).reduce((a, b) => a + b)); }""",
        [centre(shown["scores"], side, max), centre(shown["scores"], side, min)],
    )
    assert light[0] > light[1] + 100


def centre(scores: list[list[float | None]], side: float, pick: Callable[..., Any]) -> tuple[float, float]:
    """Where on the canvas the cell with the most or least score is."""
    cells = [(s, a, b) for a, row in enumerate(scores) for b, s in enumerate(row) if s is not None]
    _, first, last = pick(cells)
    return 44 + side * (first + 0.5) / len(scores), 8 + side * (len(scores) - last - 0.5) / len(scores)


def test_a_long_video_shows_the_window_of_the_moment(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}?q={DOOR}&open=21-23@long")
    shown = page.locator(".window")
    expect(shown).to_be_visible()
    maps = httpx.get(f"{address}v1/videos/long/moments", params={"query": DOOR}).json()["maps"]
    assert len(maps) > 3

    def window() -> tuple[float, float]:
        return span((shown.text_content() or "").split(" of ")[0])

    start, end = window()
    assert start <= 21
    assert end >= 23
    page.get_by_role("button", name="Earlier window").click()
    expect(shown).not_to_contain_text(f"0:{start:02.0f} {DASH}")
    assert window()[0] < start
    page.get_by_role("button", name="Later window").click()
    expect(shown).to_contain_text(f"0:{start:02.0f} {DASH}")
    page.locator(".mark").first.click()
    expect(shown).to_contain_text("of 0:30")


def test_answers_are_filtered(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}?q={DOOR}")
    page.get_by_label("Camera", exact=True).select_option("garden")
    expect(page.locator("#count")).to_have_text(re.compile("in 1 video$"))
    assert {name for name, _ in hits(page)} == {"two"}
    # A value with everything in it that could end it.
    page.get_by_label("Camera", exact=True).select_option(EVIL_CAMERA)
    expect(card_of(page, EVIL)).to_be_visible()
    assert {name for name, _ in hits(page)} == {EVIL}
    page.get_by_role("button", name=re.compile("Remove: camera")).click()
    page.get_by_role("group", name="Recorded").get_by_label("From").fill("2026-01-11")
    page.get_by_role("group", name="Recorded").get_by_label("To").fill("2026-01-11")
    page.get_by_role("group", name="Recorded").get_by_label("To").press("Tab")
    expect(card_of(page, EVIL)).to_have_count(0)  # the count is the same as that of the filter before
    expect(page.locator("#count")).to_have_text(re.compile("in 1 video$"))
    assert {name for name, _ in hits(page)} == {"two"}
    page.get_by_role("button", name="Clear all").click()
    page.get_by_label("At most").fill("0:01.5")
    page.get_by_label("At most").press("Enter")
    expect(page).to_have_url(re.compile("max_length=1.5"))
    expect(page.locator("#results")).not_to_have_attribute("aria-busy", "true")
    assert all(end - start < 1.61 for start, end in (span(time) for _, time in hits(page)))
    page.get_by_role("switch", name="One moment per video").click()
    expect(page.locator("#count")).to_have_text(re.compile("^6 moments in 6 videos"))
    page.get_by_label("Only in this video").fill("long")
    page.get_by_label("Only in this video").press("Enter")
    expect(page.locator("#count")).to_have_text("1 moment in 1 video")
    accessible(page)


def test_an_answer_that_is_not_sure_enough_is_refused(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}?q={DOOR}")
    page.get_by_role("slider", name="How sure").fill("0.8")
    expect(page.get_by_role("heading", name="Nothing is 80 % sure")).to_be_visible()
    expect(page.locator("#notice")).to_contain_text("55 %")
    accessible(page)
    page.locator("#notice").get_by_role("button").click()
    expect(page.locator(".card")).to_have_count(24)
    expect(page.get_by_role("slider", name="How sure")).to_have_value(re.compile("0.5[45]"))


def test_no_match(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}?q={DOOR}&min_length=5000")
    expect(page.get_by_role("heading", name="No moment passes these filters")).to_be_visible()
    expect(page.locator(".card")).to_have_count(0)
    accessible(page)
    page.get_by_role("button", name="Clear the filters").click()
    expect(page.locator(".card")).to_have_count(24)


def test_moments_like_one(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}?q={DOOR}&min_confidence=0.2")
    card = card_of(page, "two")
    start, end = span(card.locator(".time").text_content())
    card.hover()
    card.get_by_role("button", name="Moments like two").click()
    expect(page.locator("#like")).to_contain_text("Like two")
    expect(page).to_have_url(re.compile("like="))
    expect(page.locator("#count")).to_have_text(re.compile("^24 moments"))
    answer = httpx.post(
        f"{address}v1/search", json={"like": {"video": "two", "start": start, "end": end}, "k": 24}
    ).json()["answers"][0]
    assert [name for name, _ in hits(page)] == [hit["video"] for hit in answer["hits"]]
    page.get_by_role("button", name="No longer like").click()
    expect(page.get_by_role("heading", name="Find the moment")).to_be_visible()


def test_a_second_sentence(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}?q={DOOR}")
    sent: list[dict[str, Any]] = []
    page.on(
        "request", lambda request: sent.append(request.post_data_json) if "search" in request.url else None
    )
    for name, label in (("then", "then"), ("and", "and also"), ("not", "but not")):
        page.get_by_role("button", name=f"+ {name}").click()
        page.get_by_label(label, exact=True).fill("a person reads a book")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile(f"{name}=a"))
        expect(page.locator("#count")).to_have_text(
            re.compile("^24 moments" if name == "not" else r"^\d pairs of moments in \d videos")
        )
        assert sent[-1][name] == "a person reads a book"
        if name == "then":
            times = page.locator(".card .time").first.text_content() or ""
            first, second = (span(part) for part in times.split("→"))
            assert second[0] >= first[0]
            expect(page.locator(".card").first.locator("img")).to_have_count(2)
            accessible(page)
        page.get_by_role("button", name="Remove the second sentence").click()
        expect(page).not_to_have_url(re.compile(f"{name}="))


def test_a_video_for_each_group(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}?q={DOOR}")
    by_video: dict[str, int] = {}
    for name, _ in hits(page):
        by_video[name] = by_video.get(name, 0) + 1
    page.get_by_role("button", name="By video").click()
    for name, count in by_video.items():
        group = page.get_by_role("region", name=name, exact=True)
        expect(group.locator(".card")).to_have_count(count)
        expect(group.locator(".mark")).to_have_count(count)
    accessible(page)
    page.get_by_role("region", name="two", exact=True).locator(".mark").first.click()
    expect(page.get_by_role("dialog", name="two")).to_be_visible()


def test_keys_alone(visit: Callable[..., Page], address: str) -> None:
    page = visit(address)
    page.locator("body").click(position={"x": 3, "y": 400})
    page.keyboard.press("/")
    page.keyboard.type(DOOR)
    page.keyboard.press("Enter")
    expect(page.locator(".card")).to_have_count(24)
    page.keyboard.press("Escape")
    place = "[...document.querySelectorAll('.card')].indexOf(document.activeElement.closest('.card'))"
    assert page.evaluate(place) == 0
    start, end = span(page.locator(".card .time").first.text_content() or "")
    advances(page, ".card video", start, end)  # with the focus
    columns = page.evaluate(
        "getComputedStyle(document.querySelector('.grid')).gridTemplateColumns.split(' ').length"
    )
    for key, expected in (
        ("ArrowRight", 1),
        ("ArrowDown", 1 + columns),
        ("ArrowUp", 1),
        ("End", 23),
        ("Home", 0),
    ):
        page.keyboard.press(key)
        assert page.evaluate(place) == expected, key
    shown = page.evaluate("getComputedStyle(document.activeElement.closest('.shot')).outlineStyle")
    assert shown == "solid"
    page.keyboard.press(" ")  # it plays with the focus: stopped
    expect(page.locator(".card video")).to_have_count(0)
    page.keyboard.press(" ")
    expect(page.locator(".card video")).to_have_count(1)
    page.keyboard.press("x")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+X")
    expect(page.locator(".tray-count")).to_have_text("3 moments selected")
    page.keyboard.press("Tab")
    assert page.evaluate(place) == 2, "the card's own controls come next"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#viewer")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    assert page.evaluate(place) == 2, "the focus comes back"
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    accessible(page)
    page.keyboard.press("Escape")
    page.keyboard.press("l")
    expect(page.locator("#like")).to_be_visible()
    page.reload()
    expect(page.locator(".card")).to_have_count(24)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the moments")).to_be_focused()


def test_dark_and_light(visit: Callable[..., Page], address: str) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    page = visit(f"{address}?q={DOOR}", color_scheme="dark")
    expect(page.locator(".card")).to_have_count(24)
    assert page.evaluate(ground) == "rgb(15, 17, 21)"
    accessible(page)
    card_of(page, "two").locator(".open").click()
    expect(page.locator(".map")).to_be_visible()
    accessible(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Theme: as the system").click()
    assert page.evaluate(ground) == "rgb(246, 247, 249)"
    page.reload()
    expect(page.locator(".card")).to_have_count(24)
    assert page.evaluate(ground) == "rgb(246, 247, 249)"
    page.get_by_role("button", name="Theme: light").click()
    page.emulate_media(color_scheme="light")
    assert page.evaluate(ground) == "rgb(15, 17, 21)"


def test_a_phone(visit: Callable[..., Page], address: str) -> None:
    page = visit(
        f"{address}?q={DOOR}",
        viewport={"width": 390, "height": 844},
        has_touch=True,
        is_mobile=True,
    )
    expect(page.locator(".card")).to_have_count(24)
    wide = "document.documentElement.scrollWidth"
    assert page.evaluate(wide) <= 390
    accessible(page)
    card = card_of(page, "two")
    card.locator(".open").tap()
    advances(page, ".card video", *span(card.locator(".time").text_content()))
    expect(page.locator("#viewer")).to_be_hidden()
    card.locator(".open").tap()
    expect(page.locator("#viewer")).to_be_visible()
    expect(page.locator(".map")).to_be_visible()
    assert page.evaluate(wide) <= 390
    assert page.evaluate("document.querySelector('.viewer-body').scrollWidth") <= 390
    accessible(page)
    page.get_by_role("button", name="Close the video").tap()
    page.get_by_role("button", name="Filters").tap()
    page.get_by_role("dialog", name="Filters").get_by_label("Camera", exact=True).select_option("garden")
    page.get_by_role("button", name="Close the filters").tap()
    expect(page.locator("#count")).to_have_text(re.compile("in 1 video$"))
    expect(page.locator("#open-filters")).to_contain_text("(1)")
    page.locator(".card .pick input").first.tap()
    expect(page.locator(".tray")).to_be_visible()
    assert page.evaluate(wide) <= 390


def test_back_and_forward(visit: Callable[..., Page], address: str) -> None:
    page = visit(address)
    ask(page)
    first = hits(page)
    page.evaluate("scrollTo(0, 600)")
    card = page.locator(".card").nth(14)
    card.locator(".open").click()
    expect(page.locator("#viewer")).to_be_visible()
    page.go_back()
    expect(page.locator("#viewer")).to_be_hidden()
    before = page.evaluate("scrollY")
    assert before > 300
    ask(page, "a person reads a book")
    expect(page).to_have_url(re.compile("book"))
    assert page.evaluate("scrollY") == 0
    page.go_back()
    expect(page.get_by_role("combobox", name="Describe a moment")).to_have_value(DOOR)
    page.wait_for_function("(y) => Math.abs(scrollY - y) < 5", arg=before)
    assert hits(page) == first
    page.go_forward()
    expect(page.get_by_role("combobox", name="Describe a moment")).to_have_value("a person reads a book")
    for _ in range(2):
        page.go_back()
    expect(page.get_by_role("heading", name="Find the moment")).to_be_visible()


def test_a_link_holds_the_whole_search(visit: Callable[..., Page], address: str) -> None:
    page = visit(
        f"{address}?q={DOOR}&not=a+person+sits+down&where=camera%3D%3Dporch&one=1&grouped=1&open=1-3@one"
    )
    expect(page.get_by_role("dialog", name="one", exact=True)).to_be_visible()
    expect(page.locator(".viewer-time")).to_have_text(f"0:01 {DASH} 0:03")
    expect(page.locator(".mark.current, #viewer .mark").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_label("but not")).to_have_value("a person sits down")
    expect(page.get_by_label("Camera", exact=True)).to_have_value("porch")
    expect(page.get_by_role("switch", name="One moment per video")).to_be_checked()
    expect(page.locator(".group")).to_have_count(4)
    assert re.search("q=.*not=.*where=.*one=1.*grouped=1$", page.url)


def test_names_and_values_are_text(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}?q={DOOR}&where=camera!%3Dporch")
    card = card_of(page, EVIL)
    expect(card).to_be_visible()
    card.locator(".shot").hover()
    advances(page, ".card video", *span(card.locator(".time").text_content()))
    card.locator(".pick input").click()
    card.locator(".open").click()
    viewer = page.get_by_role("dialog", name=EVIL)
    expect(viewer).to_be_visible()
    page.get_by_text("About this video").click()
    expect(viewer.get_by_text(EVIL_CAMERA, exact=True)).to_be_visible()
    expect(page.locator(".map")).to_be_visible()
    page.reload()
    expect(viewer).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="By video").click()
    expect(page.get_by_role("region", name=EVIL)).to_be_visible()
    box = page.get_by_role("combobox", name="Describe a moment")
    box.fill(EVIL)
    page.keyboard.press("Enter")
    expect(page.locator("#count")).to_have_text(re.compile("moments in"))
    box.fill("")
    expect(page.locator("#recent").get_by_role("option").first).to_have_text(EVIL)
    page.goto(
        f"{address}?q=%3Cscript%3Ehacked%3D1%3C%2Fscript%3E&where=%3Cimg src%3Dx onerror%3Dhacked%3D1%3E"
    )
    expect(page.get_by_role("heading", name="could not be answered")).to_be_visible()
    assert page.evaluate("'hacked' in window") is False
    assert page.locator("img[src=x], body script").count() == 0


def test_a_dead_video(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}?q={DOOR}&video=gone")
    card = page.locator(".card").first
    expect(card.locator(".note")).to_contain_text("not there any more")
    card.locator(".shot").hover()
    page.wait_for_timeout(300)
    expect(card.locator(".note")).to_contain_text("not there any more")
    accessible(page)
    card.locator(".open").click()
    expect(page.locator(".player-note")).to_contain_text("not there any more")
    expect(page.locator("#viewer .mark").first).to_be_visible()
    expect(page.locator(".map")).to_be_visible()
    accessible(page)


def test_what_browsers_do_not_play_is_converted(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}?q={DOOR}&video=old")
    said: list[str] = []
    page.expose_function("said", lambda text: said.append(text))
    page.evaluate(
        """() => new MutationObserver((all) => all.forEach(({target}) => target.matches?.(".note") &&
        window.said(target.textContent))).observe(document.getElementById("list"),
        {subtree: true, childList: true})"""
    )
    card = page.locator(".card").first
    start, end = span(card.locator(".time").text_content() or "")
    card.locator(".shot").hover()
    advances(page, ".card video", 0, end - start)
    assert "Being converted …" in said
    expect(card.locator(".note")).to_be_hidden()
    assert page.evaluate("document.querySelector('.card video').videoHeight") > 0
    card.locator(".open").click()
    page.wait_for_function("() => document.querySelector('#viewer video')?.currentTime > 0.2")
    expect(page.locator(".player-note")).to_be_hidden()
    track = page.get_by_role("slider", name="Place in the video")
    page.wait_for_function(
        "([least, most]) => { const now = +document.querySelector('.track').getAttribute('aria-valuenow'); "
        "return least < now && now <= most; }",
        arg=[start + 0.1, LENGTH + 0.1],
    )
    track.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('#viewer video').currentSrc.includes('start=1.000')")
    expect(track).to_have_attribute("aria-valuetext", "0:01 of 0:06")
    page.keyboard.press("End")  # nothing begins there: its last moments are shown instead
    page.wait_for_function("() => document.querySelector('#viewer video').readyState > 1")
    expect(page.locator(".player-note")).to_be_hidden()
    assert LENGTH - 1 < float(track.get_attribute("aria-valuenow") or 0) <= LENGTH + 0.1


def test_a_converted_video_plays_on_where_it_is_sought(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}?q={DOOR}&video=old&after=2")
    page.locator(".card .open").first.click()
    track = page.get_by_role("slider", name="Place in the video")
    page.wait_for_function("() => document.querySelector('#viewer video')?.currentTime > 0")
    track.click(position={"x": 5, "y": 2})
    page.wait_for_function("() => /start=0\\./.test(document.querySelector('#viewer video').currentSrc)")
    page.wait_for_function("() => document.querySelector('#viewer video').currentTime > 0.3")
    assert 0 < float(track.get_attribute("aria-valuenow") or 0) < 2


def test_errors_and_a_server_that_is_busy_or_away(visit: Callable[..., Page], address: str) -> None:
    page = visit(address)
    box = page.get_by_role("combobox", name="Describe a moment")
    refuse(page, "search", **problem(500, "something went wrong here; the server's log has more."))
    box.fill(DOOR)
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("something went wrong here")
    accessible(page)
    page.unroute_all()
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".card")).to_have_count(24)
    refuse(page, "search", **problem(503, "9 sentences wait already.", **{"Retry-After": "2"}))
    box.fill("book")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("9 sentences wait already. Trying again in 2 s")
    expect(page.locator("#list")).to_have_class("old")
    accessible(page)
    page.unroute_all()
    expect(page.locator("#notice")).to_be_hidden(timeout=4000)  # by itself
    expect(page.locator("#list")).not_to_have_class("old")
    page.route("**/v1/search", lambda route: route.abort())
    box.fill("door")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="The server is away")).to_be_visible()
    page.unroute_all()
    page.get_by_role("button", name="Try now").click()
    expect(page.locator("#notice")).to_be_hidden()


def test_a_slow_search_says_so_and_a_newer_one_ends_it(visit: Callable[..., Page], address: str) -> None:
    page = visit(address)
    held: list[Route] = []
    ended: list[Request] = []
    page.on("requestfailed", lambda request: ended.append(request))
    page.route("**/v1/search", lambda route: held.append(route) if len(held) < 2 else route.continue_())
    box = page.get_by_role("combobox", name="Describe a moment")
    box.fill(DOOR)
    page.keyboard.press("Enter")
    expect(page.locator(".bone").first).to_be_visible()
    expect(page.get_by_role("heading", name="Still searching")).to_be_visible(timeout=5000)
    accessible(page)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("heading", name="Cancelled")).to_be_visible()
    page.wait_for_timeout(100)  # the browser tells of it a little later
    assert [request.failure for request in ended if "search" in request.url] == ["net::ERR_ABORTED"]
    page.get_by_role("button", name="Search again").click()
    expect(page.locator(".bone").first).to_be_visible()
    ask(page, "a person reads a book")
    page.wait_for_timeout(100)
    assert len([request for request in ended if "search" in request.url]) == 2
    assert len(held) == 2


def test_a_token_is_asked_for_once(visit: Callable[..., Page], root: Path, browser: Browser) -> None:
    with serving(root, token=TOKEN) as address:
        assert httpx.get(address).status_code == 200
        assert "default-src 'none'" in httpx.get(address).headers["content-security-policy"]
        for path in ("static/app.js", "static/icon.svg"):
            assert httpx.get(address + path).status_code == 200
        for path in ("v1/indexes", "static/%2e%2e/guard.py", "static/../guard.py", "static/none", "static/"):
            assert httpx.get(address + path).status_code in (401, 404)
        page = visit(f"{address}?q={DOOR}")
        field = page.get_by_role("textbox", name="Token")
        expect(field).to_be_focused()
        for _ in range(4):  # browsers let a second one close a dialog, and there would be nothing left to do
            page.keyboard.press("Escape")
        expect(page.get_by_role("dialog", name="This server asks for a token")).to_be_visible()
        accessible(page)
        field.fill("another-token-of-theirs")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("That is not the token of this server.")
        field.fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.locator(".card")).to_have_count(24)
        card = card_of(page, "two")
        expect(card.locator("img.there")).to_be_visible()
        card.locator(".shot").hover()
        advances(page, ".card video", *span(card.locator(".time").text_content()))
        (cookie,) = page.context.cookies()
        name, value = cookie_of(TOKEN)
        assert (cookie["name"], cookie["value"]) == (name, value)
        assert cookie["httpOnly"]
        assert (cookie["sameSite"], cookie["path"]) == ("Strict", "/")
        assert TOKEN not in value
        for given in (f"{name}={value[:-1]}", f"{name}=", f"other={value}", "=;;", f"{name}={TOKEN}"):
            assert httpx.get(f"{address}v1/indexes", headers={"Cookie": given}).status_code == 401
        page.reload()
        expect(page.locator(".card")).to_have_count(24)
        assert page.evaluate("fetch('v1/session', {method: 'DELETE'}).then((a) => a.status)") == 204
        page.reload()
        expect(page.get_by_role("textbox", name="Token")).to_be_visible()


def test_a_selection_is_exported(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}?q={DOOR}")
    expected = hits(page)[:4]
    boxes = page.locator(".card .pick input")
    boxes.nth(0).click()
    boxes.nth(3).click(modifiers=["Shift"])
    expect(page.locator(".tray-count")).to_have_text("4 moments selected")
    accessible(page)
    with page.expect_download() as waited:
        page.get_by_role("button", name="Export").click()
    assert waited.value.suggested_filename.endswith(".csv")
    rows = list(csv.DictReader(io.StringIO(waited.value.path().read_text(encoding="utf-8"))))
    assert [row["video"] for row in rows] == [name for name, _ in expected]
    for row, (_, time) in zip(rows, expected, strict=True):
        assert (float(row["start"]), float(row["end"])) == pytest.approx(span(time), abs=0.051)
    page.get_by_role("button", name="Select all").click()
    expect(page.locator(".tray-count")).to_have_text("24 moments selected")
    refuse(page, "export", **problem(422, "too many moments."))
    page.get_by_role("button", name="Export").click()
    expect(page.locator(".tray-said")).to_have_text("too many moments.")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".tray")).to_be_hidden()
    expect(page.locator(".card.selected")).to_have_count(0)


def test_several_indexes(visit: Callable[..., Page], root: Path, tmp_path: Path, command: Command) -> None:
    other = Path(shutil.copytree(root, tmp_path / "other.mmn"))
    command.ok("remove", "one", "--index", other)
    with serving(root, other) as address:
        page = visit(f"{address}?q={DOOR}&one=1")
        expect(page.locator("#count")).to_have_text("6 moments in 6 videos")
        page.get_by_label("Collection").select_option("other")
        expect(page).to_have_url(re.compile("index=other"))
        expect(page.locator("#count")).to_have_text("5 moments in 5 videos")
        expect(page.locator(".card img.there").first).to_be_visible()
        page.go_back()
        expect(page.locator("#count")).to_have_text("6 moments in 6 videos")


def test_a_card_tells_of_its_own_search(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}?q={DOOR}")
    for sentence in (DOOR, f"{DOOR} slowly", "a person reads a book"):
        ask(page, sentence)
        answer = httpx.post(f"{address}v1/search", json={"query": sentence, "k": 24}).json()["answers"][0]
        expect(page.locator(".card .score").first).to_have_text(f"{answer['hits'][0]['score']:.3g}")
        said = page.locator(".card .score").all_text_contents()
        assert [float(text) for text in said] == pytest.approx(
            [hit["score"] for hit in answer["hits"]], rel=0.006
        )


def test_the_same_sentence_is_asked_anew(visit: Callable[..., Page], address: str) -> None:
    page = visit(address)
    sent: list[int] = []

    def reply(route: Route) -> None:
        sent.append(1)
        if len(sent) == 1:
            route.fulfill(**problem(500, "Something broke."))
        else:
            route.continue_()

    page.route("**/v1/search", reply)
    box = page.get_by_role("combobox", name="Describe a moment")
    box.fill(DOOR)
    box.press("Enter")
    expect(page.get_by_text("Something broke.")).to_be_visible()
    entries = page.evaluate("history.length")
    box.press("Enter")  # it failed: not a dead key
    expect(page.locator("#count")).to_have_text(re.compile("^24 moments"))
    box.press("Enter")  # the index may have changed
    page.wait_for_function("() => !document.querySelector('[aria-busy]')")
    assert len(sent) == 3
    for _ in range(5):
        page.keyboard.down("Enter")  # held
    page.keyboard.up("Enter")
    page.wait_for_function("() => !document.querySelector('[aria-busy]')")
    assert len(sent) == 4
    assert page.evaluate("history.length") == entries


def test_what_is_remembered_may_be_damaged(visit: Callable[..., Page], address: str) -> None:
    page = visit(address)
    page.evaluate("localStorage.setItem('mmn-theme', 'constructor')")
    page.evaluate("localStorage.setItem('mmn-recent', '{')")
    page.goto(f"{address}?q={DOOR}")
    expect(page.locator("#count")).to_have_text(re.compile("moments"))
    expect(page.get_by_role("button", name="Theme: as the system")).to_be_visible()


def test_a_link_that_asks_for_what_is_not_there(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}?q={DOOR}&index=elsewhere")
    expect(page.get_by_role("heading", name="There is no index “elsewhere” here")).to_be_visible()
    expect(page.locator(".card")).to_have_count(0)
    accessible(page)
    page.get_by_role("button", name="Search “films”").click()
    expect(page.locator(".card")).to_have_count(24)
    assert "elsewhere" not in page.url
    page.goto(f"{address}?q={DOOR}&k=99999")  # as many as there may be
    expect(page.locator("#count")).to_have_text(re.compile("^[0-9,]+ moments in 6 videos"))


def test_the_focus_comes_back_to_the_video_that_was_opened(visit: Callable[..., Page], address: str) -> None:
    page = visit(address)
    tile = page.get_by_role("button", name="two", exact=False).first
    tile.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#viewer")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    expect(tile).to_be_focused()


def test_filters_are_readable(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}?q={DOOR}")
    dates = page.get_by_role("group", name="Recorded").locator("input")
    for box in (one.bounding_box() for one in dates.all()):
        assert box is not None
        assert box["width"] > 150  # "mm/dd/yyyy" and the button that opens the calendar
    expect(page.get_by_role("group", name="Size in bytes")).to_be_visible()
    card_of(page, "one").locator(".open").click()
    page.get_by_text("About this video").click()
    expect(page.locator(".facts").get_by_text("Size in bytes")).to_be_visible()


def test_a_small_phone_does_not_scroll_sideways(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}?q={DOOR}", viewport={"width": 320, "height": 640})
    expect(page.locator(".card")).to_have_count(24)
    page.get_by_role("button", name="Select all").click()
    assert page.evaluate("document.documentElement.scrollWidth") == 320


def test_colours_of_the_user(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}?q={DOOR}", forced_colors="active")
    page.locator(".card .open").first.click()
    mark = page.locator("#viewer .mark:not(.current)").first
    expect(mark).to_be_visible()
    text = page.evaluate("getComputedStyle(document.body).color")
    expect(mark).to_have_css("background-color", text)  # seen on any ground that text is seen on


def test_a_score_without_a_confidence_says_what_it_is(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}?q={DOOR}&then=a person reads a book")
    expect(page.locator(".card .score").first).to_have_text(re.compile("^score "))


def test_the_focus_is_not_lost(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}?q={DOOR}&one=1&min_confidence=0.8")

    def press(button: Any, key: str = "Enter") -> None:
        button.focus()
        page.keyboard.press(key)

    results = page.locator("#results")
    press(page.locator("#notice button"))  # it goes with what it was about
    expect(page.locator(".card")).to_have_count(6)
    expect(results).to_be_focused()
    press(page.locator("#chips button").first)
    expect(results).to_be_focused()
    press(page.locator(".card .open").nth(2), "l")
    expect(page.locator("#like")).to_be_visible()
    expect(page.locator(".card .open").first).to_be_focused()
    press(page.locator(".card .open").first, "x")
    press(page.get_by_role("button", name="Clear", exact=True))
    expect(results).to_be_focused()
    press(page.get_by_role("button", name="No longer like this moment"))
    expect(page.get_by_role("combobox", name="Describe a moment")).to_be_focused()


def test_a_server_of_short_answers_is_asked_for_no_more(visit: Callable[..., Page], root: Path) -> None:
    with serving(root, max_k=30) as address:
        page = visit(f"{address}?q={DOOR}")
        expect(page.locator(".card")).to_have_count(24)
        page.get_by_role("button", name="More moments").click()
        expect(page.locator(".card")).to_have_count(30)
        expect(page.locator("#more")).to_be_hidden()
        page.goto(f"{address}?q={DOOR}&k=1000")
        expect(page.locator(".card")).to_have_count(30)
    with serving(root, max_k=5) as address:
        page = visit(f"{address}?q={DOOR}")
        expect(page.locator(".card")).to_have_count(5)
        expect(page.locator("#more")).to_be_hidden()


def test_a_link_that_is_sure_of_an_index_that_is_not(visit: Callable[..., Page], uncalibrated: Path) -> None:
    with serving(uncalibrated) as address:
        page = visit(f"{address}?q={DOOR}&min_confidence=0.9&one=1")
        expect(page.locator("#count")).to_have_text("6 moments in 6 videos")
        expect(page.locator("#chips")).to_have_text(re.compile("^one per video"))


@pytest.mark.parametrize("opened", ["500-900@one", "6-8@one", "4-2@one", "4-900@one"])
def test_a_link_to_what_is_beyond_the_video(visit: Callable[..., Page], address: str, opened: str) -> None:
    page = visit(f"{address}?q={DOOR}&open={opened}")
    start = 4 if opened == "4-900@one" else 0
    time = page.locator("#viewer .viewer-time")
    expect(time).to_have_text(f"0:0{start} {DASH} 0:06")
    page.wait_for_function("(t) => document.querySelector('#viewer video')?.currentTime >= t", arg=start)
    # A browser may refuse to begin before somebody did something on the page; this asks as if somebody did.
    page.evaluate("document.querySelector('#viewer video').play()")
    page.wait_for_function("(t) => document.querySelector('#viewer video').currentTime > t", arg=start)
    page.wait_for_function("document.querySelector('#viewer canvas')?.width > 0")
    expect(page.locator("#viewer .map-problem")).to_be_hidden()


CALL = """async ([address, path, token, body]) => {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    if (body) headers["Content-Type"] = "application/json";
    try {
        const answer = await fetch(address + path, { method: body ? "POST" : "GET", headers, body });
        const named = ["Content-Disposition", "X-Left-Out", "Content-Range", "Retry-After"];
        return [answer.status, await answer.text(), ...named.map((name) => answer.headers.get(name))];
    } catch (error) {
        return [0, String(error)];
    }
}"""
SHOWN = """async ([address, how]) => {
    const image = new Image();
    if (how) image.crossOrigin = how;
    return new Promise((done) => {
        image.onload = () => done(image.naturalHeight);
        image.onerror = () => done(0);
        image.src = address;
    });
}"""


@pytest.mark.parametrize("token", [None, TOKEN])
def test_a_page_of_another_origin(browser: Browser, root: Path, tmp_path: Path, token: str | None) -> None:
    """What the browser lets a page have is decided by the browser: asked in one."""
    (tmp_path / "index.html").write_text("<!doctype html><title>another</title>")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        origin = f"http://127.0.0.1:{other.server_port}"
        moment = {"video": "one", "start": 1, "end": 2, "text": DOOR}
        asked = json.dumps({"format": "edl", "moments": [moment, {**moment, "video": "gone"}]})
        with serving(root, token=token, origins=(origin,)) as address, browser.new_context() as context:
            page = context.new_page()
            page.goto(origin)

            def call(path: str, given: str | None = token, body: str | None = None) -> list[Any]:
                found: list[Any] = page.evaluate(CALL, [address, path, given, body])
                return found

            status, text, *_ = call("v1/search", body=json.dumps({"query": DOOR, "k": 1}))
            assert (status, len(json.loads(text)["answers"][0]["hits"])) == (200, 1)
            status, _, name, left_out, *_ = call("v1/export", body=asked)
            assert (status, left_out) == (200, "1")
            assert 'filename="a-person-opens-the-door.edl"' in name
            assert call("v1/videos/none/")[:2][0] == 404  # it may read why
            if token:
                for wrong in (None, "another-token-of-somebody"):
                    status, text, *_ = call("v1/indexes", wrong)
                    assert (status, json.loads(text)["title"]) == (401, "Unauthorized")
            else:
                picture = f"{address}v1/videos/one/thumbnail?t=1&height=48"
                assert page.evaluate(SHOWN, [picture, "anonymous"]) == 48
                assert page.evaluate(SHOWN, [picture, ""]) == 0
            # A page that was not named is told nothing.
            page.goto(origin.replace("127.0.0.1", "localhost"))
            assert call("v1/indexes")[0] == 0
        other.shutdown()

"""Parts of videos over HTTP: what a browser plays, clips, whole videos while they are encoded, files for others."""

import asyncio
import csv
import io
import json
import os
import pwd
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from conftest import Command
from fastapi.testclient import TestClient
from moving import Read, make_video, number_in
from PIL import Image
from test_player_times import joined, make, steady

from mmn_index.errors import OutputError
from mmn_index.index import MomentIndex
from mmn_index.index.store import IndexedVideo
from mmn_index.server import clips, live, once, pool
from mmn_index.server.app import create_app
from mmn_index.server.disk_cache import DiskCache
from mmn_index.server.settings import Settings
from mmn_index.video.browser import playback

ODD = 'it\'s "odd" <b>caf\xe9'
FILMS: dict[str, dict[str, Any]] = {
    "plain.mp4": {"gop": 50},
    "old.avi": {"codec": "mpeg4", "sound": "mp3", "gop": 30},
    "tape.mkv": {"codec": "libx265"},
    "web.webm": {"codec": "libvpx-vp9", "sound": "libopus"},
    "phone.mp4": {"rotation": 90, "sound": None},
    "wide.mkv": {"aspect": Fraction(3, 2), "sound": None},
    f"{ODD}.mp4": {"sound": None},
}
SECONDS, RATE = 8.0, 25
QUERY = "a person opens the door"


@pytest.fixture(scope="module")
def films(pixel_model: Path, tmp_path_factory: pytest.TempPathFactory, command: Command) -> Path:
    """An index of videos of many formats, which lie beside it."""
    folder = tmp_path_factory.mktemp("clips")
    for name, kind in FILMS.items():
        make_video(folder / "films" / name, seconds=SECONDS, **kind)
    command.ok("build", folder / "films", "--model", pixel_model, "-o", folder / "films.mmn")
    return folder / "films.mmn"


@pytest.fixture
def serve(films: Path, tmp_path: Path) -> Iterator[Callable[..., TestClient]]:
    """A server of that index, with a cache of its own."""
    running: list[TestClient] = []

    def start(**settings: Any) -> TestClient:
        told = Settings((films,), **{"cache_dir": tmp_path / "cache", **settings})
        client = TestClient(create_app(told), base_url="http://localhost", raise_server_exceptions=False)
        running.append(client.__enter__())
        return running[-1]

    yield start
    for client in running:
        client.__exit__()


def read(content: bytes, folder: Path, turned: int = 0) -> Read:
    path = folder / "read.mp4"
    path.write_bytes(content)
    return Read(path, turned)


@cache
def whole(root: Path, video: str) -> Read:
    """What is in the file of a video of the index."""
    name = next(name for name in FILMS if name.startswith(f"{video}."))
    return Read(root.parent / "films" / name)


def clip(client: TestClient, video: str, start: float, end: float, **more: Any) -> Any:
    return client.get(f"/v1/videos/{video}/clip", params={"start": start, "end": end, **more})


def kept(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


def pointed_at(client: TestClient, path: Path) -> None:
    """As if the index named another file."""
    opened = client.app.state.service.library.find(None)  # type: ignore[attr-defined]
    opened.index.video = lambda number: IndexedVideo("plain", str(path), SECONDS)


WAYS = {
    "plain": ("direct", ""),
    "web": ("direct", ""),
    "phone": ("direct", ""),
    "old": ("transcode", "MPEG-4 in AVI: browsers do not play it, so it is converted while you watch."),
    "tape": ("transcode", "H.265 (HEVC) in Matroska: "),
    "wide": ("transcode", "H.264 in Matroska: "),
}


def test_how_a_browser_plays_each_video(serve: Callable[..., TestClient]) -> None:
    client = serve()
    for video, (way, says) in WAYS.items():
        found = client.get(f"/v1/videos/{video}").json()
        assert (found["playback"], found["playable"]) == (way, True)
        assert (found["reason"] or "").startswith(says)
        assert (found["reason"] is None) == (way == "direct")
    assert {video["playback"] for video in client.get("/v1/videos").json()["videos"]} == {None}


@pytest.mark.parametrize(
    ("name", "kind", "way", "says"),
    [
        ("a.mov", {}, "direct", ""),
        ("a.m4v", {"sound": None}, "direct", ""),
        ("a.mp4", {"sound": "mp3"}, "direct", ""),
        ("a.webm", {"codec": "libvpx", "sound": "libopus"}, "direct", ""),
        ("a.mp4", {"sound": "ac3"}, "transcode", "AC-3 sound in MP4: "),
        ("a.mp4", {"codec": "libx265"}, "transcode", "H.265 (HEVC) in MP4: "),
        ("a.mp4", {"codec": "mpeg4"}, "transcode", "MPEG-4 in MP4: "),
        (
            "a.ts",
            {"codec": "mpeg2video", "sound": "mp2"},
            "transcode",
            "MPEG-2 in an MPEG transport stream: ",
        ),
        ("a.mkv", {"codec": "libvpx-vp9", "sound": "libopus"}, "transcode", "VP9 in Matroska: "),
    ],
)
def test_which_files_browsers_play(
    tmp_path: Path, name: str, kind: dict[str, Any], way: str, says: str
) -> None:
    found = playback(make_video(tmp_path / name, seconds=0.4, **kind))
    assert (found.way, (found.reason or "").startswith(says)) == (way, True)


def test_files_that_are_not_what_they_are_called_or_cannot_be_shown(tmp_path: Path) -> None:
    plain = make_video(tmp_path / "plain.mp4", seconds=0.4)
    tape = make_video(tmp_path / "tape.mkv", seconds=0.4)
    assert playback(Path(shutil.copy(tape, tmp_path / "a.mp4"))).way == "transcode"
    assert playback(Path(shutil.copy(tape, tmp_path / "a.webm"))).way == "transcode"
    assert playback(Path(shutil.copy(plain, tmp_path / "plain.bin"))).way == "transcode"
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").write_text("")
    half = tmp_path / "half.mp4"
    half.write_bytes(plain.read_bytes()[:200])
    parts = [make(tmp_path / f"{n}.ts", steady(4), 2.0) for n in range(2)]
    twice = joined(tmp_path / "twice.ts", *parts)
    for path in (tmp_path / "text.mp4", tmp_path / "empty.mp4", half, twice, tmp_path / "none.mp4"):
        found = playback(path)
        assert found.way == "none"
        assert found.reason is not None
        assert str(tmp_path) not in found.reason
        assert "\n" not in found.reason
    # A file of the same name is looked at again.
    shutil.copy(plain, half)
    assert playback(half).way == "direct"


@pytest.mark.parametrize("video", [*WAYS])
@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (3.3, 5.1)])
def test_a_clip_is_its_moment(
    serve: Callable[..., TestClient], films: Path, tmp_path: Path, video: str, start: float, end: float
) -> None:
    kind = next(kind for name, kind in FILMS.items() if name.startswith(video))
    answer = clip(serve(), video, start, end)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
    found = read(answer.content, tmp_path, kind.get("rotation", 0))
    first = round(start * RATE + 1e-6)
    source = whole(films, video)
    shown = [n for n, time in enumerate(source.times) if start - 1 / RATE < time < end - 1e-3]
    first = max(n for n in shown if source.times[n] <= start + 1e-3)
    assert found.numbers == source.numbers[first : shown[-1] + 1]
    times = [max(0.0, source.times[n] - start) for n in shown if n >= first]
    assert found.times == pytest.approx(times, abs=0.002)
    assert found.duration == pytest.approx(end - start, abs=1 / RATE + 0.03)
    size = {"phone": (32, 80), "wide": (120, 32)}.get(video, (80, 32))
    assert (found.codec, found.size, found.rotation, found.aspect) == ("h264", size, 0, 1)
    assert (found.samples is None) == (kind.get("sound", "aac") is None)
    if found.samples is not None:
        assert found.is_tone(0.2, end - start - 0.2)
    at = answer.content.find
    assert 0 < at(b"moov") < at(b"mdat"), "a player could not begin before the end has come"


def test_a_clip_is_made_smaller_and_never_larger(serve: Callable[..., TestClient], tmp_path: Path) -> None:
    client = serve()
    assert read(clip(client, "phone", 1, 2, height=64).content, tmp_path).size == (26, 64)
    assert read(clip(client, "phone", 1, 2, height=1080).content, tmp_path).size == (32, 80)


def test_a_clip_ends_with_its_video_and_comes_in_parts(
    serve: Callable[..., TestClient], tmp_path: Path
) -> None:
    client = serve()
    whole = clip(client, "old", 7.0, 20.0)
    assert read(whole.content, tmp_path).duration == pytest.approx(1.0, abs=0.1)
    where = {"url": "/v1/videos/old/clip", "params": {"start": 7.0, "end": 20.0}}
    part = client.get(**where, headers={"Range": "bytes=100-299"})
    assert (part.status_code, part.content) == (206, whole.content[100:300])
    assert part.headers["content-range"] == f"bytes 100-299/{len(whole.content)}"
    assert part.headers["etag"] == whole.headers["etag"]
    matching = {"Range": "bytes=5-6", "If-Range": whole.headers["etag"]}
    assert client.get(**where, headers=matching).content == whole.content[5:7]
    far = client.get(**where, headers={"Range": f"bytes={len(whole.content)}-"})
    assert far.status_code == 416


def test_clips_of_hits(serve: Callable[..., TestClient], films: Path, tmp_path: Path) -> None:
    client = serve()
    found = client.post("/v1/search", json={"query": QUERY, "videos": ["plain"], "k": 3}).json()
    for hit in found["answers"][0]["hits"]:
        answer = client.get(f"/v1/moments/{hit['row']}/clip", params={"version": found["version"]})
        assert answer.status_code == 200, answer.text
        shown = read(answer.content, tmp_path)
        assert shown.numbers[0] == int(hit["start"] * RATE + 0.02)
        assert shown.duration == pytest.approx(hit["end"] - hit["start"], abs=1 / RATE + 0.03)
    old = client.get("/v1/moments/0/clip", params={"version": found["version"] + 1})
    assert (old.status_code, old.headers["content-type"]) == (409, "application/problem+json")
    assert "Search again" in old.json()["detail"]
    total = MomentIndex(films).num_moments
    for row, status in ((total - 1, 200), (total, 404), (-1, 422), (1 << 62, 404), (1 << 80, 422)):
        answer = client.get(f"/v1/moments/{row}/clip", params={"version": found["version"]})
        assert answer.status_code == status, row
    assert client.get("/v1/moments/0/clip").status_code == 422


def test_a_moment_of_a_removed_video_has_no_clip(films: Path, tmp_path: Path, command: Command) -> None:
    root = Path(shutil.copytree(films, tmp_path / "films.mmn"))
    rows = MomentIndex(root).rows_of(MomentIndex(root).number_of("old"))
    command.ok("remove", "old", "--index", root)
    told = Settings((root,), cache_dir=tmp_path / "cache")
    with TestClient(create_app(told), base_url="http://localhost") as client:
        version = client.get("/v1/indexes").json()[0]["version"]
        answer = client.get(f"/v1/moments/{rows[0]}/clip", params={"version": version})
    assert (answer.status_code, "no moment" in answer.json()["detail"]) == (404, True)


def test_what_cannot_be_a_clip(serve: Callable[..., TestClient], films: Path, tmp_path: Path) -> None:
    client = serve()
    for params, says in (
        ({"start": 2, "end": 2}, "is not after the start"),
        ({"start": 3, "end": 2}, "is not after the start"),
        ({"start": 0, "end": 300.1}, "at most 300"),
        ({"start": -1, "end": 2}, "start: "),
        ({"start": "nan", "end": 2}, "start: "),
        ({"start": 0, "end": "inf"}, "end: "),
        ({"start": 0}, "end: "),
        ({"start": 0, "end": 1, "height": 5000}, "height: "),
        ({"start": 50, "end": 51}, "nds at 00:08.0"),
    ):
        answer = client.get("/v1/videos/old/clip", params=params)
        assert (answer.status_code, says in answer.json()["detail"]) == (422, True), answer.text
    for video in ("none", "..%2F..%2Fetc%2Fpasswd", "%00", "films%2Fold.avi", "..", "%2Fetc%2Fpasswd"):
        for call in ("clip?start=0&end=1", "transcoded", "thumbnail"):
            assert client.get(f"/v1/videos/{video}/{call}").status_code == 404, (video, call)
    text, half = tmp_path / "text.mp4", tmp_path / "half.mp4"
    text.write_text("no video")
    half.write_bytes((films.parent / "films/plain.mp4").read_bytes()[:2000])
    link, secret = tmp_path / "in/link.mp4", films.parent / "films/plain.mp4"
    link.parent.mkdir()
    link.symlink_to(secret)
    for path, statuses in ((text, {422}), (half, {422}), (link, {404}), (tmp_path / "none.mp4", {404})):
        pointed_at(client, path)
        moments = [{"video": "plain", "start": 0, "end": 1}]
        for answer in (
            clip(client, "plain", 0, 1),
            client.get("/v1/videos/plain/transcoded"),
            client.get("/v1/videos/plain/thumbnail"),
            client.post("/v1/export", json={"format": "clips", "moments": moments}),
            client.post("/v1/export", json={"format": "edl", "moments": moments}),
        ):
            assert answer.status_code in statuses | ({422} if "export" in str(answer.url) else set())
            assert answer.headers["content-type"] == "application/problem+json"
            said = answer.json()["detail"]
            assert str(tmp_path) not in said
            assert "\n" not in said
    assert kept(tmp_path / "cache") == []


def test_a_clip_is_made_once_and_kept(
    serve: Callable[..., TestClient], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[float] = []

    def slowly(media: Any, start: float, *more: Any, **told: Any) -> None:
        made.append(start)
        time.sleep(0.3)
        clips.transcode_(media, start, *more, **told)  # type: ignore[attr-defined]

    monkeypatch.setattr(clips, "transcode_", clips.transcode, raising=False)
    monkeypatch.setattr(clips, "transcode", slowly)
    client = serve()
    with ThreadPoolExecutor(4) as together:
        answers = list(together.map(lambda _: clip(client, "old", 1, 2), range(4)))
    assert made == [1]
    assert len({answer.content for answer in answers}) == 1
    assert clip(client, "old", 1, 2).content == answers[0].content
    assert made == [1]
    clip(client, "old", 1, 2, height=64)
    assert made == [1, 1]
    other = serve()  # which begins with what is on the disk
    assert clip(other, "old", 1, 2).content == answers[0].content
    assert made == [1, 1]
    assert os.stat(tmp_path / "cache").st_mode & 0o777 == 0o700
    names = [path.name for path in kept(tmp_path / "cache")]
    assert len(names) == 2
    assert all(len(name) == 64 and set(name) <= set("0123456789abcdef") for name in names)
    metrics = client.get("/v1/metrics").text
    assert 'mmn_index_disk_cache_requests_total{outcome="hit"} 1.0' in metrics


def test_pictures_are_kept_and_those_of_a_changed_file_are_not_shown(
    serve: Callable[..., TestClient], films: Path, tmp_path: Path
) -> None:
    client = serve()

    def number() -> int:
        content = client.get("/v1/videos/plain/thumbnail", params={"t": 2.0, "height": 32}).content
        return number_in(np.asarray(Image.open(io.BytesIO(content))))

    path = tmp_path / "plain.mp4"
    shutil.copy(films.parent / "films/plain.mp4", path)
    pointed_at(client, path)
    assert [number(), number(), len(kept(tmp_path / "cache"))] == [50, 50, 1]
    make_video(path, times=[0.0, 1.0, 1.5, 5.0])
    assert number() == 2
    (first, *_) = kept(tmp_path / "cache")
    first.write_bytes(b"")  # as after a machine fell over
    assert number() == 2


def test_a_busy_server_and_one_whose_work_hangs(
    serve: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    ends, began = threading.Event(), threading.Event()
    monkeypatch.setattr(pool, "_GRACE", 0.2)

    def hangs(media: Any, start: float, *more: Any, **told: Any) -> None:
        if start == 1:
            began.set()
            ends.wait(20)
        raise OutputError("no place")

    monkeypatch.setattr(clips, "transcode", hangs)
    client = serve(encoders=1, max_clips=1, work_wait=0.5)
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(clip, client, "old", 1, 2)
        assert began.wait(10)
        busy = clip(client, "plain", 3, 4)
        assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")
        assert "clips are being made already" in busy.json()["detail"]
        late = waiting.result()
    assert (late.status_code, "longer than the 0.5 seconds" in late.json()["detail"]) == (503, True)
    until = time.monotonic() + 10  # the thread still hangs, and its place is given to others
    while (answer := clip(client, "plain", 3, 4)).json()["detail"][
        :8
    ] != "the disk" and until > time.monotonic():
        time.sleep(0.05)
    assert (answer.status_code, "full" in answer.json()["detail"]) == (503, True)
    ends.set()


def test_decoding_that_takes_too_long_is_ended(
    serve: Callable[..., TestClient], films: Path, tmp_path: Path
) -> None:
    """Work asks while it reads, and ends without a picture being written."""
    client = serve(work_wait=1e-4)
    pointed_at(client, Path(shutil.copy(films.parent / "films/plain.mp4", tmp_path / "new.mp4")))
    for call in ("clip?start=1&end=5", "thumbnail?t=7"):
        answer = client.get(f"/v1/videos/old/{call}")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert client.get("/v1/videos/old").json()["playback"] is None
    running = client.app.state.service.encoders._running  # type: ignore[attr-defined]
    until = time.monotonic() + 5
    while running and time.monotonic() < until:
        time.sleep(0.02)
    assert not running


def asked(client: TestClient, path: str, query: str, gone: "Callable[[list[Any]], bool]") -> list[Any]:
    """What an application sends to a client that goes when `gone` says so of what it got."""
    sent: list[Any] = []

    async def ask() -> None:
        told = False

        async def receive() -> dict[str, Any]:
            nonlocal told
            if not told:
                told = True
                return {"type": "http.request", "body": b"", "more_body": False}
            while not gone(sent):
                await asyncio.sleep(0.01)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode()}
        scope |= {"headers": [(b"host", b"localhost")]}
        scope |= {"query_string": query.encode(), "root_path": "", "scheme": "http", "http_version": "1.1"}
        scope |= {"asgi": {"version": "3.0", "spec_version": "2.3"}, "server": ("local", 80)}
        await client.app(scope, receive, send)  # type: ignore[arg-type]

    assert client.portal is not None
    client.portal.call(ask)
    return sent


def test_work_for_a_client_that_goes_is_dropped(
    serve: Callable[..., TestClient], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends, began, made = threading.Event(), threading.Event(), list[float]()

    def slowly(media: Any, start: float, end: float, out: Path, *, check: Any, **told: Any) -> None:
        made.append(start)
        began.set()
        while not ends.is_set():
            check()
            time.sleep(0.01)
        out.write_bytes(b"clip")

    monkeypatch.setattr(clips, "transcode", slowly)
    client = serve(encoders=1)
    with ThreadPoolExecutor(1) as other:
        stays = other.submit(clip, client, "old", 1, 2)
        assert began.wait(10)
        sent = asked(client, "/v1/videos/old/clip", "start=3&end=4", lambda sent: True)
        assert sent[0]["status"] == 499
        # One of two who wait for the same goes: the other gets it.
        assert asked(client, "/v1/videos/old/clip", "start=1&end=2", lambda sent: True)[0]["status"] == 499
        ends.set()
        assert (stays.result().status_code, stays.result().content) == (200, b"clip")
    ends.clear()
    assert asked(client, "/v1/videos/old/clip", "start=5&end=6", lambda sent: 5 in made)[0]["status"] == 499
    ends.set()
    assert clip(client, "old", 7, 8).status_code == 200  # the place is free
    assert made == [1, 5, 7], "what nobody waits for was made"


class Thing:
    """Something that has to be closed."""

    closed = False

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("when", ["before", "in the same moment"])
def test_what_comes_for_a_caller_that_has_gone_is_closed(when: str) -> None:
    async def run() -> Thing:
        loop, thing, goes = asyncio.get_running_loop(), Thing(), threading.Event()
        here = pool.Pool(1, 4, 10.0, "things")

        def work(watch: pool.Watch) -> Thing:
            if when == "before":
                goes.wait(10)
            else:  # the cancel is due right after the result has been noted
                loop.call_soon_threadsafe(lambda: loop.call_soon(task.cancel))
            return thing

        task = asyncio.create_task(here.run(work))
        await asyncio.sleep(0.05)
        task.cancel()
        goes.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        for _ in range(100):
            await asyncio.sleep(0.01)
            if thing.closed:
                break
        return thing

    assert asyncio.run(run()).closed


def test_a_whole_video_is_encoded_while_it_is_watched(
    serve: Callable[..., TestClient], films: Path, tmp_path: Path
) -> None:
    client = serve()
    for video, start in (("old", 0.0), ("tape", 2.5), ("wide", 3.0)):
        with client.stream("GET", f"/v1/videos/{video}/transcoded", params={"start": start}) as answer:
            assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
            assert "content-length" not in answer.headers
            content = b"".join(answer.iter_bytes())
        assert content.count(b"moof") >= (SECONDS - start) / 2.4
        assert content.find(b"moov") < content.find(b"moof")
        found = read(content, tmp_path)
        source = whole(films, video)
        expected = [time - start for time in source.times if time > start + 1e-3]
        assert found.numbers == source.numbers[-len(expected) - 1 :]
        assert found.times == pytest.approx([0.0, *expected], abs=0.003)
        assert (found.samples is None) == (video == "wide")
    end = client.get("/v1/videos/old/transcoded", params={"start": 9})
    assert (end.status_code, "nds at 00:08.0" in end.json()["detail"]) == (422, True)
    assert kept(tmp_path / "cache") == []


def test_encoding_waits_for_a_client_and_stops_when_it_goes(
    serve: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_AHEAD", 0)
    client = serve(transcoders=1)
    pool_ = client.app.state.service.transcoders  # type: ignore[attr-defined]
    seen: list[Any] = []

    def gone(sent: list[Any]) -> bool:
        if len(sent) < 2:
            return False
        if not seen:  # the first piece has come: nobody else is let in
            seen.append(len(pool_._running))
            seen.append(client_status())
        return True

    def client_status() -> int:
        return 503 if pool_._held >= pool_._waiting else 200

    sent = asked(client, "/v1/videos/old/transcoded", "", gone)
    assert (sent[0]["status"], seen) == (200, [1, 503])
    assert sum(len(message.get("body", b"")) for message in sent) < 150_000
    until = time.monotonic() + 5
    while pool_._running and time.monotonic() < until:
        time.sleep(0.02)
    assert not pool_._running
    assert client.get("/v1/videos/old/transcoded").status_code == 200


def test_a_client_that_takes_nothing_is_given_up(
    serve: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_AHEAD", 0)
    monkeypatch.setattr(live, "_PATIENCE", 0.3)
    monkeypatch.setattr(live, "_LOOK", 0.1)

    async def pipe() -> None:
        watch = pool.Watch(60.0)
        made = live._Pipe(asyncio.get_running_loop(), watch)
        made.write(b"one")
        with pytest.raises(pool.StoppedError):
            await asyncio.to_thread(made.write, b"two")
        assert watch.over

    asyncio.run(pipe())


def test_the_cache_keeps_its_size_and_what_was_used_last(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "deep/cache", 1000)
    (tmp_path / "deep/cache/mine.txt").write_text("x" * 5000)  # is nobody's business

    def add(letter: str) -> None:
        cache.make(letter * 64, lambda path: path.write_bytes(letter.encode() * 300) and None).close()
        time.sleep(0.01)

    for letter in "abc":
        add(letter)
    found = cache.find("a" * 64)
    assert found is not None
    assert found.read() == b"a" * 300
    found.close()
    time.sleep(0.01)
    held = cache.find("b" * 64)
    os.utime(tmp_path / "deep/cache" / ("b" * 64), ns=(0, 0))
    add("d")
    names = {path.name[0] for path in kept(tmp_path / "deep/cache")}
    assert names == {"a", "c", "d", "m"}
    assert held is not None
    assert held.read() == b"b" * 300, "what is open stays readable"
    held.close()
    with pytest.raises(OutputError):
        cache.make("e" * 64, lambda path: (_ for _ in ()).throw(OutputError("full")))
    assert not any(path.name.endswith(".part") for path in kept(tmp_path / "deep/cache"))
    left = tmp_path / "deep/cache" / f"{'f' * 64}.x.part"
    left.write_text("of a process that was killed")
    os.utime(left, (0, 0))
    for letter in "0123":
        add(letter)
    assert not left.exists()


def test_clips_of_a_server_stay_within_the_size(serve: Callable[..., TestClient], tmp_path: Path) -> None:
    client = serve(cache_size=1e-4)  # 100,000 bytes
    sizes = [len(clip(client, "old", start / 2, start / 2 + 2).content) for start in range(8)]
    assert sum(sizes) > 200_000
    assert 0 < sum(path.stat().st_size for path in kept(tmp_path / "cache")) <= 100_000
    none = serve(cache_size=0, cache_dir=tmp_path / "none")
    assert clip(none, "old", 0, 1).status_code == 200
    assert kept(tmp_path / "none") == []


WRITER = """
import random, sys
from pathlib import Path
from mmn_index.server.disk_cache import DiskCache
cache, rng = DiskCache(Path(sys.argv[1]), 40_000), random.Random(int(sys.argv[2]))
for _ in range(400):
    key = format(rng.randrange(40), "064x")
    file = cache.find(key) or cache.make(key, lambda path: path.write_bytes(key.encode() * 40) and None)
    with file:
        assert file.read() == key.encode() * 40
"""


def test_processes_share_a_cache(tmp_path: Path) -> None:
    lines = [[sys.executable, "-c", WRITER, str(tmp_path / "cache"), str(n)] for n in range(2)]
    both = [subprocess.Popen(line, stderr=subprocess.PIPE, text=True) for line in lines]
    for process in both:
        said = process.communicate(timeout=60)[1]
        assert (process.returncode, said) == (0, "")
    found = kept(tmp_path / "cache")
    assert all(path.stat().st_size == 64 * 40 for path in found)
    assert 5 < len(found) <= 40_000 // (64 * 40) + 1


def test_a_place_that_cannot_be_used_breaks_no_answer(
    serve: Callable[..., TestClient],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    for place in (tmp_path / "file", tmp_path / "file/below", tmp_path / "open"):
        caplog.clear()
        client = serve(cache_dir=place)
        for start in (1, 2):
            assert clip(client, "old", start, 3).status_code == 200
        told = [one for one in caplog.records if "nothing is kept there" in one.getMessage()]
        assert len(told) == 1
    assert kept(tmp_path / "open") == []
    # What is to be done about it is not the same everywhere.
    for place, owner, why in (
        ("file", None, "it is no folder"),
        ("open", None, "Run `chmod go-w` on it"),
        ("theirs", os.geteuid() + 1, "it belongs to another user"),
    ):
        caplog.clear()
        (tmp_path / "theirs").mkdir(exist_ok=True)
        with monkeypatch.context() as changed:
            if owner is not None:
                changed.setattr(os, "geteuid", lambda owner=owner: owner)
            DiskCache(tmp_path / place, 1000)
        assert why in caplog.text
    # A disk that is full when it is written to.
    cache = DiskCache(tmp_path / "full", 1000)
    caplog.clear()

    def write(path: Path) -> None:
        if path.is_relative_to(tmp_path / "full"):
            raise OutputError("the disk is full")
        path.write_bytes(b"made")

    for _ in range(2):
        with cache.make("a" * 64, write) as file:
            assert file.read() == b"made"
    assert len(caplog.records) == 1


def test_a_user_without_a_home_is_served(
    serve: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)

    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    client = serve(cache_dir=None)
    for _ in range(2):
        assert clip(client, "old", 1, 3).status_code == 200
    assert caplog.text.count("this user has no home folder") == 1


def test_one_clip_without_a_server(films: Path, tmp_path: Path) -> None:
    told = Settings((films,), cache_dir=tmp_path / "cache")
    for call in ("clip?start=1&end=2", "transcoded?start=7"):
        status, _, body = once.get(told, f"/v1/videos/old/{call}")
        assert (status, body[4:8]) == (200, b"ftyp")


def lines(command: Command, films: Path, *arguments: object) -> list[dict[str, Any]]:
    said = command.ok("search", QUERY, *arguments, "--index", films, "--json").stdout
    return [json.loads(line) for line in said.splitlines()]


def body(form: str, hits: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """An export of what a search found."""
    names = ("video", "start", "end", "score", "exact", "recall")
    moments = [{name: hit[name] for name in names} | {"text": QUERY} for hit in hits]
    return {"format": form, "score_name": hits[0]["score_name"], "moments": moments, **more}


@pytest.mark.parametrize("form", ["csv", "json", "jsonl", "srt", "vtt", "edl", "otio", "fcpxml"])
def test_an_export_is_that_of_the_command(
    serve: Callable[..., TestClient], films: Path, command: Command, tmp_path: Path, form: str
) -> None:
    search = ["-k", 3, "--video", "plain"]
    answer = serve().post("/v1/export", json=body(form, lines(command, films, *search)))
    assert answer.status_code == 200, answer.text
    command.ok("export", QUERY, *search, "--index", films, "-o", tmp_path / f"a.{form}")
    expected = (tmp_path / f"a.{form}").read_bytes()
    assert len(expected) > 100
    assert answer.content == expected
    name = f"a-person-opens-the-door.{form}"
    assert answer.headers["content-disposition"].startswith(f'attachment; filename="{name}";')
    assert answer.headers["x-left-out"] == "0"


def test_subtitles_of_several_videos_are_a_zip(
    serve: Callable[..., TestClient], films: Path, command: Command, tmp_path: Path
) -> None:
    search = ["-k", 12, "--per-video", 2]
    answer = serve().post("/v1/export", json=body("vtt", lines(command, films, *search)))
    command.ok("export", QUERY, *search, "--index", films, "--format", "vtt", "-o", tmp_path / "subtitles")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert sorted(archive.namelist()) == [path.name for path in kept(tmp_path / "subtitles")]
        for path in kept(tmp_path / "subtitles"):
            assert archive.read(path.name) == path.read_bytes()
    assert answer.headers["content-type"] == "application/zip"


def test_clips_are_handed_on_in_a_zip(serve: Callable[..., TestClient], films: Path, tmp_path: Path) -> None:
    client = serve()
    gone = films.parent / "films/web.webm"
    moments = [
        {"video": "plain", "start": 1.0, "end": 2.0, "text": QUERY},
        {"video": "web", "start": 1.0, "end": 2.0, "text": QUERY},
        {"video": "plain", "start": 1.0, "end": 2.0, "text": QUERY, "rank": 1},
        {"video": ODD, "start": 7.0, "end": 8.0, "text": "../../x"},
    ]
    hidden = gone.rename(gone.with_name("hidden"))
    try:
        answer = client.post("/v1/export", json={"format": "clips", "moments": moments, "padding": 0.5})
    finally:
        hidden.rename(gone)
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        *names, last = archive.namelist()
        assert names == [
            "01_a-person-opens-the-door/01_plain_00-00.5_00-02.5.mp4",
            "01_a-person-opens-the-door/01_plain_00-00.5_00-02.5-2.mp4",
            "02_x/01_it-s-odd-b-caf\xe9_00-06.5_00-08.0.mp4",
        ]
        assert (last, "'web'" in archive.read(last).decode()) == ("left-out.txt", True)
        first, last_ = (read(archive.read(names[n]), tmp_path) for n in (0, 2))
    assert (first.numbers[0], len(first.numbers)) == (12, 51)
    assert (last_.numbers[0], last_.duration) == (162, pytest.approx(1.5, abs=0.1))


def test_names_of_files_are_plain(serve: Callable[..., TestClient]) -> None:
    client = serve()
    answer = client.get(f"/v1/videos/{quote(ODD)}/clip?start=1&end=2")
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == (
        'inline; filename="it-s-odd-b-caf__00-01.0_00-02.0.mp4"; '
        "filename*=UTF-8''it-s-odd-b-caf%C3%A9_00-01.0_00-02.0.mp4"
    )
    for text, name in (("../../a", "a"), ('"; x="\r\nSet-Cookie: a', "x-Set-Cookie-a"), ("..", "untitled")):
        moments = [{"video": "plain", "start": 1, "end": 2, "text": text}]
        answer = client.post("/v1/export", json={"format": "csv", "moments": moments})
        assert answer.headers["content-disposition"].startswith(f'attachment; filename="{name}.csv";')
        assert "set-cookie" not in answer.headers


HOSTILE = "<script>alert(1)</script>\n00:00:01,000 --> 00:00:09,000\r\n\n]]>&\x00\x1b\uffff"


def test_texts_of_strangers_stay_texts(serve: Callable[..., TestClient]) -> None:
    client = serve()

    def exported(form: str, *texts: str) -> str:
        moments = [{"video": "plain", "start": 1, "end": 2, "text": text} for text in texts]
        answer = client.post("/v1/export", json={"format": form, "moments": moments})
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-content-type-options"] == "nosniff"
        return answer.content.decode()

    assert exported("srt", HOSTILE).count("-->") == 1
    assert len(exported("srt", HOSTILE).splitlines()) == 3
    assert exported("vtt", HOSTILE).count("-->") == 1
    assert "<" not in exported("vtt", HOSTILE)
    assert len(exported("edl", HOSTILE).splitlines()) == len(exported("edl", "a").splitlines())
    assert "<script>alert" in str(ET.fromstring(exported("fcpxml", HOSTILE)).findtext(".//note"))
    json.loads(exported("otio", HOSTILE))
    for form in ("srt", "vtt"):  # a cue is never empty
        assert exported(form, "").splitlines()[-1] == "plain"
    sums = ("=1+1", "+cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!A0", "@SUM(1)", "\t=1", "-SUM(A1)")
    plain = ("-person", "+1", "a=b", "1-2", HOSTILE, 'say "a", b')
    rows = list(csv.DictReader(io.StringIO(exported("csv", *sums, *plain), newline="")))
    assert [row["query"] for row in rows] == [*(f"'{text}" for text in sums), *plain]
    assert [row["query"] for row in json.loads(exported("json", *sums))] == [*sums]


def test_exports_that_are_refused(serve: Callable[..., TestClient]) -> None:
    client = serve(max_export=3, max_export_clips=2)
    one = {"video": "plain", "start": 1, "end": 2}
    for asked_, status, says in (
        ({"format": "csv", "moments": []}, 422, "moments: "),
        ({"format": "csv", "moments": [one] * 4}, 422, "4 moments, this server hands on 3 as csv"),
        ({"format": "clips", "moments": [one] * 3}, 422, "hands on 2 as clips"),
        ({"format": "exe", "moments": [one]}, 422, "format: "),
        ({"format": "csv", "moments": [one | {"video": "none"}]}, 404, "no video 'none'"),
        ({"format": "csv", "moments": [one, one | {"start": 50, "end": 60}]}, 422, "moments.1.start: 00:50"),
        ({"format": "csv", "moments": [one | {"end": 1}]}, 422, "moments.0.end: 1 s is not after 1 s"),
        ({"format": "csv", "moments": [one], "padding": 1}, 422, "padding: is for the format clips"),
        ({"format": "csv", "moments": [one], "index": "none"}, 404, "no index 'none'"),
        ({"format": "csv", "moments": [one], "path": "/etc/passwd"}, 422, "path: Extra inputs"),
        ({"format": "csv", "moments": [one | {"text": "x" * 2001}]}, 422, "text: "),
    ):
        answer = client.post("/v1/export", json=asked_)
        assert answer.status_code == status, answer.text
        assert says in answer.json()["detail"]
    beyond = client.post("/v1/export", json={"format": "json", "moments": [one | {"end": 60}]})
    assert json.loads(beyond.content)[0]["end"] == SECONDS, "a moment ends with its video"


def test_the_calls_are_documented(serve: Callable[..., TestClient]) -> None:
    paths = serve().get("/v1/openapi.json").json()["paths"]
    for path, statuses in (
        ("/v1/videos/{video}/clip", {"200", "206", "404", "422", "503"}),
        ("/v1/moments/{row}/clip", {"200", "206", "404", "409", "422", "503"}),
        ("/v1/videos/{video}/transcoded", {"200", "404", "422", "503"}),
    ):
        assert statuses <= set(paths[path]["get"]["responses"])
        assert "video/mp4" in paths[path]["get"]["responses"]["200"]["content"]
    assert "text/csv" in paths["/v1/export"]["post"]["responses"]["200"]["content"]

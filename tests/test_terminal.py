"""What people see: tables that fit their terminal, names that open files, one line of progress, a player that
plays the first moment.
"""

import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote_to_bytes

import h5py
import numpy as np
import pytest
from conftest import DIM, SENTENCES, Command
from mmn_index.cli import player
from mmn_index.cli.output import printable, progress, say, short_path
from mmn_index.cli.table import VideoName, print_table

from mmn_index.errors import DependencyError, VideoError
from mmn_index.origin import source_of
from mmn_index.readable import typed

LINK = re.compile("\x1b\\]8;id=[0-9]+;([!-:<-~]*)\x1b\\\\(.*?)\x1b\\]8;;\x1b\\\\")
STYLE = re.compile("\x1b\\[[0-9;]*m")
HOSTILE = (
    "[red]x[/] [link=file:///etc]y[/link] :smile:",
    "\x1b]8;;file:///etc/passwd\x1b\\click\x1b]8;;\x1b\\",
    "bell\x07\x9b31m\u202etxt\r\n2  other  00:00.0",
    "a\\",
)


class Screen(io.StringIO):
    """A terminal that keeps what it is sent."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        """What is seen."""
        return STYLE.sub("", LINK.sub(r"\2", self.getvalue())).split("\n")[:-1]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Screen]:
    """Stdout and stderr are a terminal of a width from now on."""

    def turn(width: int, term: str = "xterm-256color") -> Screen:
        made = Screen()
        monkeypatch.setattr(sys, "stdout", made)
        monkeypatch.setattr(sys, "stderr", made)
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("TERM", term)
        return made

    return turn


def cells(text: str) -> int:
    """Columns that a text takes; by Unicode's own table, and for what these tests write."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


HEADER = ["rank", "video", "start", "end", "collection", "confidence"]
NAMES = (
    "cam1",
    "porch/2026-11-26/VID_20261126_101500_front_door_and_street",
    "東京駅の動画2026年11月二十六日の朝の記録",
    "e\u0301te\u0301 🎉",
    "",
)


def hits(names: tuple[str, ...] = NAMES) -> list[list[str]]:
    return [
        [str(n), name, "01:02.5", "1:02:03.5", f"{-n / 7:.3f}", "0.51"] for n, name in enumerate(names, 1)
    ]


@pytest.mark.parametrize("width", [56, 60, 80, 120, 300])
def test_a_table_fits_the_terminal_and_nothing_of_it_is_lost(
    screen: Callable[..., Screen], width: int
) -> None:
    seen = screen(width)
    print_table(HEADER, hits(), left=2)
    lines = seen.lines()
    assert max(map(cells, lines)) <= width
    starts = [n for n, line in enumerate(lines) if re.match(r"[1-5] ", line)]
    assert len(starts) == len(NAMES)
    ends = {"01:02.5": set(), "1:02:03.5": set(), "0.51": set()}
    for n, (begin, end) in enumerate(zip(starts, [*starts[1:], len(lines)], strict=True)):
        name, *rest = re.split(r"\s{2,}(?=01:02\.5)", lines[begin][6:], maxsplit=1)
        numbers = (rest[0] if rest else name).split()
        assert numbers == ["01:02.5", "1:02:03.5", f"{-(n + 1) / 7:.3f}", "0.51"]
        for number, at in ends.items():
            at.add(cells(lines[begin].partition(number)[0]))
        folded = "".join([name if rest else "", *(line.strip() for line in lines[begin + 1 : end])])
        assert folded.replace(" ", "") == NAMES[n].replace(" ", "")
    assert [len(at) for at in ends.values()] == [1, 1, 1]
    heads = lines[: starts[0]]
    assert "".join(" ".join(heads).split()).count("rankvideostartend") == 1
    assert (len(lines) == 1 + len(NAMES)) == (width >= 120)


def test_columns_that_do_not_fit_come_in_blocks_with_the_names(screen: Callable[..., Screen]) -> None:
    header = ["task", *(f"R@{k},IoU=0.5" for k in range(1, 9))]
    rows = [[name, *(f"{k}{n}.5" for k in range(1, 9))] for n, name in enumerate(("SVMR", "VCMR"))]
    for width in (14, 20, 40, 60, 200):
        seen = screen(width)
        print_table(header, rows)
        lines = seen.lines()
        assert max(map(len, lines)) <= width
        for n, name in enumerate(("SVMR", "VCMR")):
            found = [line.split()[1:] for line in lines if line.startswith(name)]
            assert [number for numbers in found for number in numbers] == rows[n][1:]
        assert (lines.count("") == 0) == (width == 200)
        if width == 40:
            assert lines[:2] == [
                "         R@1,     R@2,     R@3,     R@4,",
                "task  IoU=0.5  IoU=0.5  IoU=0.5  IoU=0.5",
            ]
    seen = screen(3)
    print_table(header, rows)  # too narrow for anything, and still whole
    assert "15" not in seen.lines()
    assert sum("VCMR" in line for line in seen.lines()) == 8


@pytest.mark.parametrize("width", [60, 300])
def test_no_name_steers_the_terminal_or_leaves_its_link(
    screen: Callable[..., Screen], tmp_path: Path, width: int
) -> None:
    rows = []
    for number, name in enumerate(HOSTILE):
        path = tmp_path / f"{name.replace('/', ';')}.mp4"
        path.write_text("no video")
        rows.append([str(number), VideoName(name, source_of(path)), "00:01.0"])
    seen = screen(width)
    print_table(["rank", "video", "start"], rows, left=2)
    text = seen.getvalue()
    assert "\x1b" not in STYLE.sub("", LINK.sub("", text))
    assert not re.search("[\x00-\x09\x0b-\x1a\x1c-\x1f\x7f-\x9f\u202e]", text)
    links = {link for link, _ in LINK.findall(text)}
    assert {unquote_to_bytes(link) for link in links} == {
        f"file://{tmp_path}/{name.replace('/', ';')}.mp4".encode() for name in HOSTILE
    }
    shown = "".join("".join(part for _, part in LINK.findall(text)).split())
    for name in HOSTILE:
        assert "".join(printable(name).split()) in shown


def test_a_command_that_is_shown_can_be_typed(capfd: pytest.CaptureFixture[str]) -> None:
    names = [name.replace("\0", "") for name in HOSTILE]
    for name in [
        *names,
        "a b",
        "it's $HOME \\ `id`",
        "-c.mmn",
        os.fsdecode(b"caf\xe9\n'\\'"),
        "two\nlines",
        "",
    ]:
        say(f"printf %s {typed(name)}")
        command = capfd.readouterr().err.removesuffix("\n")
        assert "\n" not in command
        shell = {**os.environ, "LC_ALL": "C.UTF-8"}
        found = subprocess.run(["bash", "-c", command], check=True, capture_output=True, env=shell).stdout
        assert os.fsdecode(found).removeprefix("./") == name


def test_a_name_is_a_link_only_where_its_file_is_there(screen: Callable[..., Screen], tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9 50%;#?.mp4")
    odd.write_text("no video")
    os.mkfifo(tmp_path / "pipe.mp4")
    names = [
        VideoName("odd", source_of(odd)),
        VideoName("gone", str(tmp_path / "gone.mp4")),
        VideoName("unknown", None),
        VideoName("pipe", str(tmp_path / "pipe.mp4")),
        VideoName("elsewhere", "https://example.org/a.mp4"),
        VideoName("broken", "/a\0b"),
    ]
    seen = screen(200)
    print_table(["video"], [[name] for name in names])
    assert LINK.findall(seen.getvalue()) == [(f"{tmp_path.as_uri()}/caf%E9%2050%25%3B%23%3F.mp4", "odd")]


@pytest.mark.parametrize(
    ("term", "links", "styles"),
    [("xterm", True, True), ("linux", False, True), ("dumb", False, False), ("", False, False)],
)
def test_a_terminal_gets_what_it_understands(
    screen: Callable[..., Screen], tmp_path: Path, term: str, links: bool, styles: bool
) -> None:
    (tmp_path / "v.mp4").write_text("no video")
    seen = screen(60, term)
    print_table(["video", "start"], [[VideoName("v" * 70, str(tmp_path / "v.mp4")), "00:01.0"]])
    assert bool(LINK.search(seen.getvalue())) == links
    assert bool(STYLE.search(seen.getvalue())) == styles
    assert max(map(len, seen.lines())) <= 60


def test_no_colour_where_none_is_wanted(
    screen: Callable[..., Screen], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    seen = screen(60)
    print_table(HEADER, hits(), left=2)
    assert {*STYLE.findall(seen.getvalue())} == {"\x1b[1m", "\x1b[0m"}


def test_programs_get_plain_lines_of_full_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in (("FORCE_COLOR", "1"), ("TTY_COMPATIBLE", "1"), ("COLUMNS", "20")):
        monkeypatch.setenv(name, value)
    (tmp_path / "v.mp4").write_text("no video")
    rows: list[list[str | VideoName]] = [[*row] for row in hits()]
    rows[0][1] = VideoName("[b]" * 100, str(tmp_path / "v.mp4"))
    print_table(HEADER, rows, left=2)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    lines = out.splitlines()
    assert {cells(line) for line in lines} == {6 + 300 + 2 + 7 + 2 + 9 + 2 + 10 + 2 + 10}
    assert lines[1].split() == ["1", "[b]" * 100, *hits()[0][2:]]


@contextmanager
def watched(width: int) -> Iterator[list[str]]:
    """Stderr is a real terminal; what it was sent is in the list afterwards, redrawn line by redrawn line."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    found: list[str] = []
    with pytest.MonkeyPatch.context() as patch, open(theirs, "w", encoding="utf-8") as stderr:
        patch.setattr(sys, "stderr", stderr)
        yield found
    sent = b"".join(sent_to(ours))
    found += [line.rstrip() for line in re.split("[\r\n]+", sent.decode())]


def sent_to(terminal: int) -> Iterator[bytes]:
    """All that a pseudo-terminal was sent, until its other side is closed."""
    with suppress(OSError):  # how Linux says that
        while block := os.read(terminal, 1 << 16):
            yield block
    os.close(terminal)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_note_of_progress_is_shown_whole(width: int) -> None:
    told = "12 of 118 files, 3.1 of 9.8 h, 00:41 left"
    for note in (f"extracting features: {told}", told):
        with watched(width) as lines, progress("extracting features") as report:
            report(12, 118, note)
        assert max(map(len, lines)) < width
        assert lines[-2].count("12 of 118 files") == 1
        assert ("12/118" in lines[-2]) == (note == told)  # what the note tells is not told twice
        assert told in lines[-2] or (width, note) == (60, told)
    with watched(width) as lines, progress("training") as report:
        report(1, 2, "日本" * 100)
        report(2, 2, "")
    assert max(map(cells, lines)) < width
    assert "2/2" in lines[-2]
    assert "日" not in lines[-2]


def test_a_note_changes_within_a_long_file(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    notes = ("fast", "faster", "1 h", "2 h {0}", "3 h")
    with watched(100) as lines, progress("extracting features") as report:
        report(0, 118)
        for done, note in zip((50, 100, 100, 100, 101), notes, strict=True):
            now[0] += 1
            report(done, 118, note)
        say("left out: a.")
    shown = [line.rpartition(", ")[2] for line in lines if "]" in line]
    assert [f"{note}]" in shown for note in notes] == [True] * 5
    assert "left out: a." in lines  # alone on its line


@pytest.fixture(scope="module")
def cellar(world: Path, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index, c.mmn, of videos whose files are there, one that is gone and one that is not known."""
    folder = tmp_path_factory.mktemp("cellar")
    (folder / "videos").mkdir()
    rng = np.random.default_rng(0)
    with h5py.File(folder / "f.h5", "w") as file:
        file.attrs.update({"backbone": "random", "rate": 8.0})
        for name in ("-rf", "day", "gone", "unknown"):
            seconds = 5000.0 if name == "day" else 20.0
            data = file.create_dataset(name, data=rng.normal(size=(int(8 * seconds), DIM)).astype("f4"))
            data.attrs["duration"] = seconds
            if name != "unknown":
                data.attrs["source"] = str(folder / "videos" / f"{name}.mp4")
            if name not in ("gone", "unknown"):
                (folder / "videos" / f"{name}.mp4").write_text("no video")
    command.ok("build", world / "run" / "model", folder / "f.h5", "-o", folder / "c.mmn")
    return folder


def test_a_search_on_a_real_terminal(cellar: Path) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    search = ["search", SENTENCES[0], "--per-video", "1", "--index", str(cellar / "c.mmn")]
    code = "from mmn_index.cli.main import main; main()"
    environment = {**os.environ, "TERM": "xterm"}
    environment.pop("COLUMNS", None)
    with subprocess.Popen([sys.executable, "-c", code, *search], stdout=theirs, env=environment) as process:
        os.close(theirs)
        sent = b"".join(sent_to(ours))
    assert process.returncode == 0
    text = sent.decode().replace("\r\n", "\n")
    assert {uri for uri, _ in LINK.findall(text)} == {
        (cellar / "videos" / f"{name}.mp4").as_uri() for name in ("-rf", "day")
    }
    lines = STYLE.sub("", LINK.sub(r"\2", text)).split("\n")
    assert max(map(len, lines)) <= 40
    assert [line.split() for line in lines[:2]] == [["collect"], ["rank", "video", "start", "end", "ion"]]
    assert [line.split()[0] for line in lines if re.match("[0-9] ", line)] == ["1", "2", "3", "4"]


Players = Callable[..., Callable[[], list[str]]]


@pytest.fixture
def players(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Players]:
    """Installs players that do nothing but keep how they were called, and removes all others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv(player.VARIABLE, raising=False)
    monkeypatch.setattr(player, "_ENDS_AT_ONCE", 0.2)

    def install(
        *names: str, then: str = "exec /bin/sleep 2", place: Path = folder
    ) -> Callable[[], list[str]]:
        called = tmp_path / "called"
        called.unlink(missing_ok=True)
        for name in names:
            script = f"#!/bin/sh\nprintf '%s\\0' $$ {name} \"$@\" > {called}.new\n/bin/mv {called}.new {called}\n{then}\n"
            (place / name).write_text(script)
            (place / name).chmod(0o755)

        def arguments() -> list[str]:
            for _ in range(100):
                if called.exists():
                    break
                time.sleep(0.1)
            return called.read_text().split("\0")[:-1]

        return arguments

    yield install
    for process in player._ALIVE:
        process.kill()
        process.wait()
    player._ALIVE.clear()


@pytest.mark.parametrize(
    ("name", "begin"),
    [("mpv", ["--start={}"]), ("vlc", ["--start-time={}"]), ("ffplay", ["-ss", "{}"])],
)
def test_open_plays_the_first_moment_at_its_second(
    cellar: Path,
    command: Command,
    players: Players,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    begin: list[str],
) -> None:
    index = ["--index", cellar / "c.mmn"]
    monkeypatch.chdir(cellar)
    # The first in the order of the players that are there.
    called = players(*["mpv", "vlc", "ffplay"][["mpv", "vlc", "ffplay"].index(name) :])
    plain = command.ok("search", "door", "--video=-rf", "--after", 4, *index, "--json").stdout
    played = command.ok("search", "door", "--video=-rf", "--after", 4, *index, "--json", "--open")
    assert played.stdout == plain
    start = json.loads(plain.splitlines()[0])["start"]
    assert start >= 4
    expected = [part.format(f"{start:.3f}") for part in begin]
    assert called()[1:] == [name, *expected, str(cellar / "videos" / "-rf.mp4")]
    assert f"\n{name} plays videos/-rf.mp4 from 00:{start:04.1f}." in f"\n{played.stderr}"


def test_open_plays_pairs_and_likenesses(cellar: Path, command: Command, players: Players) -> None:
    index = ["--index", cellar / "c.mmn", "--video", "day"]
    for query in (["--like", "day@100-900"], ["door", "--then", "book"], ["door", "--and", "book"]):
        called = players("mpv")
        found = command.ok("search", *query, *index, "--json", "--open").stdout
        first = json.loads(found.splitlines()[0])
        start = first["start"] if "start" in first else first["first"]["start"]
        assert called()[1:] == ["mpv", f"--start={start:.3f}", str(cellar / "videos" / "day.mp4")]


def test_the_player_is_left_alone(cellar: Path, command: Command, players: Players) -> None:
    called = players("mpv", then="exec /bin/sleep 60")
    begun = time.monotonic()
    command.ok("search", "door", "--video", "day", "--index", cellar / "c.mmn", "--open")
    pid = int(called()[0])
    try:
        assert time.monotonic() - begun < 50
        assert os.getsid(pid) == pid  # does not end with the terminal
        assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)} == {"/dev/null"}
    finally:
        os.kill(pid, signal.SIGKILL)


def test_the_player_that_is_named(
    cellar: Path, command: Command, players: Players, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    search = ["search", "door", "--video", "day", "--index", cellar / "c.mmn", "--open"]
    elsewhere = tmp_path / "my programs"
    elsewhere.mkdir()
    called = players("VLC", "ffplay-7", place=elsewhere)
    players("mpv")
    for name, begin in (("VLC", "--start-time="), ("ffplay-7", "-ss")):
        (tmp_path / "called").unlink(missing_ok=True)
        monkeypatch.setenv(player.VARIABLE, str(elsewhere / name))
        command.ok(*search)
        assert called()[1] == name
        assert called()[2].startswith(begin)
    (tmp_path / "called").unlink()
    (elsewhere / "totem").write_text("#!/bin/sh\n")
    (elsewhere / "totem").chmod(0o755)
    for named, says in (
        (elsewhere / "totem", "totem' is none of them; expected the name or path of mpv, vlc or ffplay"),
        (elsewhere / "mpv", "mpv' is not installed; expected"),
        ("ffplay", "'ffplay' is not installed"),
    ):
        monkeypatch.setenv(player.VARIABLE, str(named))
        assert "day.mp4 at " in command.fails(*search, says=says).stderr
    assert not (tmp_path / "called").exists()


def test_what_cannot_be_opened_is_one_line(
    cellar: Path, command: Command, players: Players, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(cellar / "videos")
    index = ["--index", cellar / "c.mmn", "--open"]
    for extra in ([], ["--json"]):
        result = command.fails(
            "search", "door", "--video", "day", *index, *extra, says="mpv, vlc and ffplay are looked for"
        )
        assert re.search(r"To play: day\.mp4 at (\d:)?\d\d:\d\d\.\d\.\n", result.stderr)
        assert len(result.stdout.splitlines()) > 1  # the answer is there all the same
    players("mpv")
    called = tmp_path / "called"
    told = command.fails("search", "door", "--video", "gone", *index, says="--open: gone.mp4: no such file")
    assert "`mmn-index sync FOLDER --index INDEX` finds moved files again." in told.stderr
    command.fails("search", "door", "--video", "unknown", *index, says="does not say which file 'unknown' is")
    none = command.ok("search", "door", "--min-length", 99999, *index)
    assert none.stderr.splitlines()[-1] == "--open: there is no moment to play."
    no_pair = command.ok("search", "door", "--then", "book", "--min-length", 99999, *index)
    assert no_pair.stderr.splitlines()[-1] == "--open: there is no moment to play."
    assert not called.exists()
    for name, code in (("mpv", 3), ("ffplay", 0)):
        players(name, then=f"exit {code}")
        monkeypatch.setenv(player.VARIABLE, name)
        command.fails("search", "door", "--video", "day", *index, says=f"ended at once with exit code {code}")
    players("mpv", then="exit 0")  # has played the rest, or another window of it does
    monkeypatch.setenv(player.VARIABLE, "mpv")
    command.ok("search", "door", "--video", "day", *index)
    refused = command.run("search", "--queries", cellar / "f.h5", *index)
    assert refused.exit_code == 2
    assert "--open plays the first moment of one QUERY" in refused.stderr


def test_a_player_that_cannot_be_started(
    players: Players, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "v.mp4").write_text("no video")
    players("mpv")
    (tmp_path / "bin" / "mpv").write_text("#!/nowhere/sh\n")
    with pytest.raises(DependencyError, match="mpv: cannot be started"):
        player.play("v", str(tmp_path / "v.mp4"), 1.0)
    with pytest.raises(VideoError, match="no such file"):
        player.play("v", "/a\0b", 1.0)
    # A relative source is a file of the current folder, never an option.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "--script=x.mp4").write_text("no video")
    called = players("mpv")
    player.play("v", "--script=x.mp4", 1.25)
    assert called()[2:] == ["--start=1.250", str(tmp_path / "--script=x.mp4")]


def test_paths_are_told_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    assert short_path(inside / "a" / "b.mp4") == "a/b.mp4"
    assert short_path(tmp_path / "b.mp4") == str(tmp_path / "b.mp4")
    assert short_path(Path("b.mp4")) == "b.mp4"
    inside.rmdir()
    assert short_path(inside / "b.mp4") == str(inside / "b.mp4")

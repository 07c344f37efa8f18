"""`mmn-index search` in all its forms: it asks what the library answers, and refuses what does not go
together.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from conftest import SENTENCES, Command
from mmn_index.cli import main as cli_main
from mmn_index.cli.main import main
from mmn_index.cli.sentences import read_lines
from test_index import edit, entries

from mmn_index import checkpoint
from mmn_index.errors import QueryError
from mmn_index.index import MomentIndex, Restriction
from mmn_index.model import MMN
from mmn_index.scoring import Embeddings, Score
from mmn_index.search import Answer, SearchOptions, search, search_like
from mmn_index.search.pairs import search_pair_embeddings


@pytest.fixture(scope="module")
def ask(lively: Path, command: Command) -> Callable[..., list[dict[str, Any]]]:
    """The answers as JSON."""

    def run(*arguments: object) -> list[dict[str, Any]]:
        result = command.ok("search", *arguments, "--index", lively / "collection.mmn", "--json")
        return [json.loads(line) for line in result.stdout.splitlines()]

    return run


Ask = Callable[..., list[dict[str, Any]]]


@torch.inference_mode()
def test_the_command_asks_what_the_library_answers(lively: Path, ask: Ask) -> None:
    index, model = MomentIndex(lively / "collection.mmn"), checkpoint.load(lively / "model")

    def check(found: list[dict[str, Any]], answer: Answer) -> None:
        assert len(found) > 2
        assert [(x["rank"], x["video"], x["start"], x["end"]) for x in found] == [
            (hit.rank, hit.video_id, round(hit.start, 3), round(hit.end, 3)) for hit in answer.hits
        ]
        assert [x["score"] for x in found] == [hit.score for hit in answer.hits]
        assert {(x["exact"], x["recall"]) for x in found} == {(True, None)}

    restriction = Restriction(("v1", "v2"), ("v2",), index.where(["duration>20"]).where, 2.0, 18.0, 3.0, 9.0)
    for arguments, options, without in (
        ([], SearchOptions(), None),
        (["-k", 5, "--nms", 0.2, "--per-video", 2], SearchOptions(k=5, nms=0.2, per_video=2), None),
        (["--not", SENTENCES[1]], SearchOptions(), [SENTENCES[1]]),
        (
            [
                "--video",
                "v1",
                "--video",
                "v2",
                "--exclude",
                "v2",
                "--where",
                "duration>20",
                "--after",
                2,
                "--before",
                "0:18.0",
                "--min-length",
                "0:03",
                "--max-length",
                9,
            ],
            SearchOptions(restriction=restriction),
            None,
        ),
    ):
        check(
            ask(SENTENCES[0], *arguments),
            search(index, model, [SENTENCES[0]], without=without, options=options)[0],
        )
    check(ask("--like", "v3@4.0-9"), search_like(index, "v3", 4.0, 9.0))
    check(ask("--like", "v3@0:04.0-00:00:09"), search_like(index, "v3", 4.0, 9.0))
    assert ask(SENTENCES[0]) != ask(SENTENCES[0], "--not", SENTENCES[1])


@torch.inference_mode()
def test_pairs_on_the_command_line(lively: Path, ask: Ask, command: Command) -> None:
    index, model = MomentIndex(lively / "collection.mmn"), checkpoint.load(lively / "model")
    queries = Embeddings(*(x.float() for x in model.embed_sentences([SENTENCES[0], SENTENCES[2]])))
    for option, in_order in (("--and", False), ("--then", True)):
        expected = search_pair_embeddings(index, queries, Score("product"), in_order, SearchOptions(k=4))
        found = ask(SENTENCES[0], option, SENTENCES[2], "-k", 4, "--score", "product")
        assert [(x["rank"], x["video"], x["score"]) for x in found] == [
            (p.rank, p.video_id, pytest.approx(p.score)) for p in expected
        ]
        for line, pair in zip(found, expected, strict=True):
            for part, values in ((line["first"], pair.first), (line["second"], pair.second)):
                assert (part["start"], part["end"], part["log_score"]) == tuple(round(x, 3) for x in values)
            assert line["uri"] == f"/nowhere/{line['video']}.mp4"
        result = command.ok(
            "search", SENTENCES[0], option, SENTENCES[2], "--index", lively / "collection.mmn", "-k", 4
        )
        assert len(result.stdout.splitlines()) == 5
        assert "proven exact: the best pair of each video" in result.stderr
    with_video = ask(SENTENCES[0], "--then", SENTENCES[2], "--video", "v4", "--before", 12)
    assert [line["video"] for line in with_video] == ["v4"]
    assert with_video[0]["first"]["end"] <= with_video[0]["second"]["start"]
    assert with_video[0]["second"]["end"] <= 12


def test_sentences_from_a_file_and_from_stdin(lively: Path, ask: Ask, tmp_path: Path) -> None:
    text = f"\n  {SENTENCES[0]}  \n\n{SENTENCES[2]}\r\n{SENTENCES[0]}"
    (tmp_path / "q.txt").write_bytes(text.encode())
    found = ask("--queries", tmp_path / "q.txt", "-k", 3)
    assert [line["query"] for line in found] == [
        x for x in (SENTENCES[0], SENTENCES[2], SENTENCES[0]) for _ in range(3)
    ]
    alone = [*ask(SENTENCES[0], "-k", 3), *ask(SENTENCES[2], "-k", 3), *ask(SENTENCES[0], "-k", 3)]
    for line, single in zip(found, alone, strict=True):
        assert {**line, "score": None} == {**single, "query": line["query"], "score": None}
        assert line["score"] == pytest.approx(
            single["score"], abs=1e-5
        )  # embedded alone, and as one of three
    arguments = ["search", "--queries", "-", "-k", "3", "--json", "--index", str(lively / "collection.mmn")]
    piped = CliRunner().invoke(main, arguments, input=text.encode())
    assert [json.loads(line) for line in piped.stdout.splitlines()] == found
    (tmp_path / "marked.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())  # as some editors write UTF-8
    assert ask("--queries", tmp_path / "marked.txt", "-k", 3) == found


def test_several_answers_are_told_apart(lively: Path, command: Command, tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("\n".join(SENTENCES[:2]))
    lines = command.ok(
        "search", "--queries", tmp_path / "q.txt", "-k", 2, "--index", lively / "collection.mmn"
    ).stdout.splitlines()
    assert [lines[n] for n in (1, 6)] == list(SENTENCES[:2])
    assert len(lines) == 10  # for each: nothing, the sentence, the head, two moments


def test_queries_that_cannot_be_read(lively: Path, command: Command, tmp_path: Path) -> None:
    index = ["--index", lively / "collection.mmn"]
    for name, content, says in (
        ("empty.txt", b"", "empty.txt: holds no sentence, expected one a line"),
        ("blank.txt", b" \n\t\n\n", "blank.txt: holds no sentence"),
        (
            "latin.txt",
            b"a person opens\nthe d\xf6\xf6r\n",
            "latin.txt: cannot be read (it is no text in UTF-8: byte 0xf6 in position 20)",
        ),
    ):
        (tmp_path / name).write_bytes(content)
        command.fails("search", "--queries", tmp_path / name, *index, says=says)
        # Whatever stdin itself would take them for.
        piped = CliRunner(charset="latin-1").invoke(
            main, ["search", "--queries", "-", *map(str, index)], input=content
        )
        assert piped.exit_code == 1
        assert isinstance(piped.exception, SystemExit)
        assert [line.startswith("Error: ") for line in piped.stderr.splitlines()] == [True]
        assert says.replace(name, "stdin") in piped.stderr
    command.fails(
        "search",
        "--queries",
        tmp_path / "none.txt",
        *index,
        says="none.txt: cannot be read (No such file or directory)",
    )
    (tmp_path / "long.txt").write_bytes(b"door\n" + b"door " * 100)
    cut = command.ok("search", "--queries", tmp_path / "long.txt", *index).stderr
    assert "long.txt: 1 sentences are longer than the text encoder reads, and are cut" in cut
    command.fails("search", "--queries", tmp_path, *index, says="cannot be read")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Give one of QUERY, --queries and --like."),
        (["door", "--queries", "q.txt"], "Give one of QUERY, --queries and --like."),
        (["door", "--like", "v1@1-5"], "Give one of QUERY, --queries and --like."),
        (["--queries", "q.txt", "--like", "v1@1-5"], "Give one of QUERY, --queries and --like."),
        (["door", "--not", "book", "--and", "book"], "--not, --and and --then go with one QUERY"),
        (["door", "--and", "book", "--then", "book"], "--not, --and and --then go with one QUERY"),
        (["door", "--not", "book", "--then", "book"], "--not, --and and --then go with one QUERY"),
        (["--like", "v1@1-5", "--not", "book"], "--not, --and and --then go with one QUERY"),
        (["--like", "v1@1-5", "--then", "book"], "--not, --and and --then go with one QUERY"),
        (["--queries", "q.txt", "--not", "book"], "--not, --and and --then go with one QUERY"),
        (["--queries", "q.txt", "--and", "book"], "--not, --and and --then go with one QUERY"),
        (["--queries", "q.txt", "--html", "p.html"], "--html shows the moments of one QUERY."),
        (["door", "--and", "book", "--html", "p.html"], "--html shows the moments of one QUERY."),
        (["door", "--then", "book", "--html", "p.html"], "--html shows the moments of one QUERY."),
        (["--like", "v1@1-5", "--html", "p.html"], "--html needs a QUERY."),
        (["door", "--after", "noon"], "'noon' is no time, expected seconds such as 90 or 1:30."),
        (["door", "--after", "1:2:3:4"], "'1:2:3:4' is no time, expected seconds such as 90 or 1:30."),
        (["door", "--after", "1:60"], "'1:60' is no time, expected seconds such as 90 or 1:30."),
        (
            ["a", "door", "opens"],
            'more follows it: door opens. Put the sentence in quotes, as in `mmn-index search "a door opens"`',
        ),
    ],
)
def test_options_that_do_not_go_together(
    lively: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "q.txt").write_text("door")
    result = command.run("search", *arguments, "--index", lively / "collection.mmn")
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "p.html").exists()


def test_what_a_search_refuses(lively: Path, command: Command) -> None:
    index = ["--index", lively / "collection.mmn"]
    command.fails("search", "door", "--then", "book", "--per-video", 2, *index, says="leave out --per-video")
    command.fails("search", "door", "--then", " ", *index, says="is empty")
    command.fails("search", "door", "--not", " ", *index, says="is empty")
    command.fails("search", "door", "--not", "door " * 100, *index, says="reads at most 32")
    command.fails(
        "search", "door", "--timeout", 0, *index, says="the timeout is 0.0 seconds, expected more than 0"
    )
    command.fails("search", "door", "--per-video", 0, *index, says="expected at least 1")
    for query in (
        ["door"],
        ["door", "--exact"],
        ["door", "--then", "book"],
        ["door", "--not", "book"],
        ["--like", "v1@1-5"],
    ):
        command.fails(
            "search",
            *query,
            "--timeout",
            0.000001,
            *index,
            says=" s to open the index, 0.00 s to search; 0 of 174 moments were scanned. Give it a longer timeout",
        )
    assert "proven exact" in command.ok("search", "door", "--timeout", 60, *index).stderr


@pytest.mark.parametrize(
    ("timeout", "slow", "says"),
    [
        (5, "index", "no answer within 5 s: 6.00 s to start, "),
        (7, "index", "6.00 s to start, 2.00 s to open the index, 0.00 s to search; 0 of"),
        (8, "model", "6.00 s to start, 0.00 s to open the index, 4.00 s to load the model, 0.00 s to search"),
        (9, "sentence", "0.00 s to load the model, 5.00 s to search; 0 of 174 moments were scanned"),
        (11.5, "sentence", None),
    ],
)
def test_the_timeout_counts_from_the_start_of_the_command(
    lively: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    timeout: float,
    slow: str,
    says: str | None,
) -> None:
    """Python took 6 s to come up, on a clock that only this test moves; then one part is slow."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(cli_main, "BEGUN", 94.0)
    owner, name, seconds = {
        "index": (MomentIndex, "__init__", 2.0),
        "model": (checkpoint, "load", 4.0),
        "sentence": (MMN, "embed_sentences", 5.0),
    }[slow]
    function = getattr(owner, name)

    def takes(*arguments: Any, **named: Any) -> Any:
        now[0] += seconds
        return function(*arguments, **named)

    monkeypatch.setattr(owner, name, takes)
    monkeypatch.setenv("MMN_INDEX", str(lively / "collection.mmn"))
    for more in ([], ["--then", "book"]):
        now[0] = 100.0
        monkeypatch.setattr(sys, "argv", ["mmn-index", "search", "door", *more, "--timeout", str(timeout)])
        with pytest.raises(SystemExit) as ended:  # as the installed command calls it, without arguments
            cli_main.main()
        assert bool(ended.value.code) == (says is not None)
        assert says is None or says in capsys.readouterr().err


def test_a_candidate_index_on_the_command_line(lively: Path, command: Command, tmp_path: Path) -> None:
    command.ok(
        "build", lively / "model", lively / "features.h5", "-o", tmp_path / "c.mmn", "--vectors", "IVF8,SQ8"
    )
    entry = MomentIndex(tmp_path / "c.mmn").manifest.segments[0]
    assert entry.candidates is not None
    index = ["--index", tmp_path / "c.mmn"]
    result = command.ok("search", SENTENCES[0], *index, "--json")
    hits = [json.loads(line) for line in result.stdout.splitlines()]
    # The collection is so small that every candidate was asked for and every list visited: then nothing is
    # left to doubt.
    assert {(hit["exact"], hit["recall"]) for hit in hits} == {(True, None)}
    assert "proven exact" in command.ok("search", SENTENCES[0], *index).stderr
    edit(
        tmp_path / "c.mmn",
        segments=entries(
            tmp_path / "c.mmn", candidates={**asdict(entry.candidates), "nprobe": 1, "depth": 20}
        ),
    )
    hits = [
        json.loads(line)
        for line in command.ok("search", SENTENCES[0], *index, "-k", 3, "--json").stdout.splitlines()
    ]
    assert {(hit["exact"], hit["recall"]) for hit in hits} == {(False, entry.candidates.recall)}
    assert (
        "not proven: the candidate index finds" in command.ok("search", SENTENCES[0], *index, "-k", 3).stderr
    )
    scanned = command.ok("search", SENTENCES[0], "--index", lively / "collection.mmn", "--json").stdout
    assert command.ok("search", SENTENCES[0], *index, "--json", "--exact").stdout == scanned
    restricted = command.ok("search", SENTENCES[0], *index, "--video", "v2")
    assert "proven exact" in restricted.stderr
    assert {line.split()[1] for line in restricted.stdout.splitlines()[1:]} == {"v2"}


def test_only_line_ends_end_a_sentence(lively: Path, command: Command, tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_bytes("a person\u2028runs\x0cdown\r\nthe door\rdown\n".encode())
    found = command.ok(
        "search", "--queries", tmp_path / "q.txt", "--index", lively / "collection.mmn", "-k", 1, "--json"
    ).stdout
    assert len(found.splitlines()) == 3


def test_a_closed_stdin_is_one_line(lively: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmn_index.cli.sentences.sys.stdin", None)
    with pytest.raises(QueryError, match="stdin: cannot be read"):
        read_lines(Path("-"))

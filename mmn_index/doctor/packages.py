"""Which packages are there, in which versions, and which of them do not work."""

import importlib.metadata
import json
import platform
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .._version import __version__
from .checkup import Checkup, Facts, one_line
from .probe import CODECS

# Every package that is always needed, and the module that is imported of it.
PACKAGES = {
    "av": "av",
    "click": "click",
    "fsspec": "fsspec",
    "h5py": "h5py",
    "huggingface-hub": "mmn_index.hub",  # all that is used of it
    "numpy": "numpy",
    "packaging": "packaging.requirements",
    "pillow": "PIL.Image",
    "pyarrow": "pyarrow.parquet",
    "pyyaml": "yaml",
    "rich": "rich.console",
    "safetensors": "safetensors",
    "tokenizers": "tokenizers",
    "torch": "torch",
    "tqdm": "tqdm",
    "transformers": "transformers",
}
_FAISS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu11", "faiss-gpu-cu12", "faiss-gpu-cuvs")
_OF_DEVELOPERS = ("cpu", "gpu", "docs", "test")  # extras that are told elsewhere, or concern no user
_PATIENCE = 60  # seconds for all packages


def examine(checkup: Checkup, facts: Facts) -> None:
    """Add what there is to say of versions, packages, video and extras."""
    _versions(checkup)
    _packages(checkup, facts)
    _faiss(checkup, facts["faiss"])
    _video(checkup, facts["av"])
    _extras(checkup)


def probe(modules: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What each module says of itself, or its "error". After a module that ends the process comes another
    process.
    """
    start = f"import sys; sys.path[:] = {sys.path!r}; from mmn_index.doctor.probe import main"
    found: dict[str, dict[str, Any]] = {}
    while rest := [name for name in modules if name not in found]:
        output, ended = _run([sys.executable, "-P", "-c", f"{start}; main(sys.argv[1:])", *rest])
        begun = rest[0]
        for line in output.decode(errors="replace").splitlines():
            with suppress(ValueError):  # the last line of a process that was ended may be half a line
                begun, *about = json.loads(line)
                found |= {begun: about[0]} if about else {}
        if begun not in found:
            found[begun] = {"error": f"its import {ended}"}
    return found


def _run(command: Sequence[str]) -> tuple[bytes, str]:
    """What a process printed, and how it ended."""
    try:
        done = subprocess.run(  # noqa: S603 - Python itself
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE,
        )
    except subprocess.TimeoutExpired as late:
        return late.stdout or b"", f"did not end within {_PATIENCE} s"
    except OSError as error:
        return b"", f"could not be tried: {error.strerror}"
    if done.returncode < 0:
        name = signal.strsignal(-done.returncode)
        return done.stdout, f"ended the process: {name} (signal {-done.returncode})"
    return done.stdout, f"ended the process with code {done.returncode}"


def _versions(checkup: Checkup) -> None:
    checkup.sections["versions"] = {
        "mmn-index": f"{__version__}, in {Path(__file__).parents[1]}",
        "Python": f"{platform.python_version()}, {sys.executable}",
        "system": platform.platform(),
    }
    known = _version("mmn-index")
    again = "Run `pip install -e .` in its folder."
    if known is None:
        checkup.advice.append(f"pip does not know mmn-index, so what it needs cannot be compared. {again}")
    elif known != __version__:
        checkup.advice.append(f"mmn-index {__version__} runs, and pip knows {known}. {again}")


def _version(distribution: str) -> str | None:
    """The version of what pip installed under a name; None where it did not, or left no word of it."""
    try:
        return importlib.metadata.version(distribution) or None
    except Exception:  # a damaged installation raises what it likes
        return None


def _wanted(extra: str = "") -> dict[str, tuple[str, bool]]:
    """The distributions that are always needed, or that an extra needs: which versions, and whether it is so.

    Nothing if mmn-index is not installed, or `packaging` is broken; both are told elsewhere.
    """
    try:
        from packaging.requirements import Requirement

        lines = map(Requirement, importlib.metadata.requires("mmn-index") or ())
        chosen = [
            line for line in lines if (line.marker.evaluate({"extra": extra}) if line.marker else not extra)
        ]
    except Exception:  # see _version
        return {}
    return {
        line.name: (
            str(line.specifier),
            version is not None and line.specifier.contains(version, prereleases=True),
        )
        for line in chosen
        for version in [_version(line.name)]
    }


def _packages(checkup: Checkup, facts: Facts) -> None:
    rows = checkup.sections["packages"] = {}
    wanted = _wanted()
    for name, module in PACKAGES.items():
        version, error = _version(name), facts[module].get("error")
        needed, fits = wanted.get(name, ("", True))
        rows[name] = version or "not known to pip"
        if not fits:
            has = f"{name} {version} is installed" if version else f"{name} is not installed"
            checkup.problems.append(f"{has}, {_needs(name, needed)}")
        elif error:
            checkup.problems.append(
                f"{name} cannot be imported ({one_line(error)}). "
                f"Install it again: `pip install --force-reinstall --no-deps {name}`."
            )
        if error:
            rows[name] += ", cannot be imported"
    torch = facts["torch"]
    if "cuda" in torch:
        build = f"built for CUDA {torch['cuda']}" if torch["cuda"] else "built without CUDA"
        rows["torch"] += f", {build}, {torch['instructions']}"


def _needs(name: str, versions: str) -> str:
    return f"mmn-index needs {versions}. Install it: `pip install '{name}{versions}'`."


def _faiss(checkup: Checkup, faiss: Mapping[str, Any]) -> None:
    versions = {name: version for name in _FAISS if (version := _version(name))}
    row = " and ".join(f"{name} {version}" for name, version in versions.items()) or "not installed"
    if "options" in faiss:
        row += f", {'for GPUs and CPUs' if faiss['gpu'] else 'for CPUs'}, {faiss['options']}"
    checkup.sections["packages"]["faiss"] = row
    one = "`pip install 'mmn-index[cpu]'` (or [gpu])"
    again = f"Run `pip uninstall -y {' '.join(versions)}`, then {one}."
    wanted = _wanted("gpu") | _wanted("cpu")
    if len(versions) > 1:
        both = " and ".join(versions)
        checkup.problems.append(f"{both} are both installed, and both are the module faiss. {again}")
    elif not versions and "error" in faiss:
        checkup.problems.append(f"FAISS is not installed, which large indexes need. Run {one}.")
    elif "error" in faiss:
        checkup.problems.append(f"FAISS cannot be imported ({one_line(faiss['error'])}). {again}")
    for name, version in versions.items():
        needed, fits = wanted.get(name, ("", True))
        if not fits:
            checkup.problems.append(f"{name} {version} is installed, {_needs(name, needed)}")


def _video(checkup: Checkup, av: Mapping[str, Any]) -> None:
    if "decoders" not in av:
        return
    libraries = ", ".join(f"{name} {version}" for name, version in av["libraries"].items())
    checkup.sections["video"] = {"FFmpeg": libraries, "decodes": ", ".join(av["decoders"]) or "nothing"}
    if missing := [codec for codec in CODECS if codec not in av["decoders"]]:
        checkup.problems.append(
            f"FFmpeg decodes no {', '.join(missing)}: such files are left out. PyAV's own build has all of "
            "them: `pip install --force-reinstall --no-deps --only-binary av av`."
        )


def _extras(checkup: Checkup) -> None:
    rows = checkup.sections["extras"] = {}
    try:
        names = importlib.metadata.metadata("mmn-index").get_all("Provides-Extra") or []
    except Exception:  # see _version
        names = []
    for extra in names:
        if extra in _OF_DEVELOPERS:
            continue
        missing = [name for name, (_, fits) in _wanted(extra).items() if not fits]
        brings = f"pip install 'mmn-index[{extra}]'"
        rows[extra] = f"not installed: {brings}" if missing else "installed"
        if old := [f"{name} {version}" for name in missing if (version := _version(name))]:
            checkup.advice.append(f"{' and '.join(old)}: too old for the extra {extra}. Run `{brings}`.")

"""What the machine has: devices, models that are here, room on its disks."""

import os
import re
import resource
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .checkup import Checkup, Facts, size

_LITTLE_DISK = 10**9  # bytes
_FEW_FILES = 1024
_DRIVER = Path("/proc/driver/nvidia/version")


def examine(checkup: Checkup, facts: Facts) -> None:
    """Add what there is to say of devices, models, disks and limits."""
    _devices(checkup, facts["torch"])
    _models(checkup, facts["mmn_index.hub"])
    _disks(checkup, facts["mmn_index.hub"].get("cache"))
    _limits(checkup)


def _devices(checkup: Checkup, torch: Mapping[str, Any]) -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    threads = os.environ.get("OMP_NUM_THREADS")
    rows = checkup.sections["devices"] = {
        "CPU": f"{len(os.sched_getaffinity(0))} cores, {size(memory)} of memory",
        "OMP_NUM_THREADS": threads or "not set",
        "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "not set"),
    }
    if threads and not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", threads):
        checkup.advice.append(
            f"OMP_NUM_THREADS is '{threads}', expected a number of threads, such as 4. It is ignored."
        )
    if "gpus" not in torch:
        return
    rows["threads"] = str(torch["threads"])
    rows |= {
        f"GPU {number}": f"{name}, {size(memory)}" for number, (name, memory) in enumerate(torch["gpus"])
    }
    if torch["gpus"]:
        return
    rows["GPU"] = "none that torch can use"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    driver = _DRIVER.exists()
    if torch["cuda"] and driver and not hidden:
        reason = f" ({torch['trouble']})" if torch["trouble"] else ""
        checkup.problems.append(
            f"an NVIDIA driver is here, and torch for CUDA {torch['cuda']} sees no GPU{reason}. "
            "Look at `nvidia-smi`. If the driver is older than this CUDA, update it, or install torch for "
            "an older CUDA."
        )
    elif torch["cuda"] and not driver:
        checkup.advice.append(
            f"torch is built for CUDA {torch['cuda']}, and no GPU is here. It works; torch's build "
            "for CPUs takes gigabytes less."
        )
    elif driver and not torch["cuda"]:
        checkup.advice.append("an NVIDIA driver is here, and torch is built without CUDA: it uses no GPU.")


def _models(checkup: Checkup, hub: Mapping[str, Any]) -> None:
    if "error" in hub:  # told with the packages
        return
    rows = checkup.sections["models"] = {
        "cache": hub["cache"],
        "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "not set"),
        "hub": hub["unreachable"] or "can be reached",
        hub["default"]: "complete" if hub["default_here"] else "not here",
    }
    rows |= {name: "complete" if whole else "not complete" for name, whole in hub["models"].items()}
    if hub["more"]:
        rows["more"] = f"{hub['more']} models"
    if hub["unreachable"] and not hub["default_here"]:
        line = (
            f"{hub['default']}, the model that `build` takes where none is named, is not in the cache, and "
            f"{hub['unreachable']}. Connect once, or name a model's folder: `build VIDEOS --model FOLDER`."
        )
        usable = hub["text_here"] or any(hub["models"].values())
        (checkup.advice if usable else checkup.problems).append(line)


def _disks(checkup: Checkup, cache: str | None) -> None:
    rows = checkup.sections["free disk"] = {}
    places = {"current folder": _place(checkup, os.getcwd, "change to a folder that exists")}
    places["temporary files"] = _place(
        checkup, tempfile.gettempdir, "set TMPDIR to a folder that can be written"
    )
    places["model cache"] = cache
    for name, place in places.items():
        if place is None:
            continue
        folder = _existing(Path(place))
        try:
            free = shutil.disk_usage(folder).free
        except OSError as error:
            checkup.problems.append(f"{name}: {folder} cannot be looked at ({error.strerror}).")
            continue
        rows[name] = f"{size(free)}, {place}"
        if not (folder.is_dir() and os.access(folder, os.W_OK)):
            rows[name] += ", cannot be written"
            where = f"{name}: {folder} cannot be written."
            if name == "model cache":
                checkup.problems.append(f"{where} Set HF_HOME to a folder that can.")
            else:
                checkup.advice.append(f"{where} Name other places with -o, or change to another folder.")
        elif free < _LITTLE_DISK:
            checkup.problems.append(
                f"{name}: {size(free)} are free in {folder}. Make room, at least {size(_LITTLE_DISK)}."
            )


def _place(checkup: Checkup, find: Any, step: str) -> str | None:
    try:
        return str(find())
    except OSError as error:
        checkup.problems.append(f"{error.strerror}: {step}.")
        return None


def _existing(path: Path) -> Path:
    """The path itself, or what is there on the way to it."""
    return next((place for place in [path, *path.parents] if os.path.lexists(place)), Path("/"))


def _limits(checkup: Checkup) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    shown = [str(limit) if limit != resource.RLIM_INFINITY else "no limit" for limit in (soft, hard)]
    checkup.sections["limits"] = {"open files": f"{shown[0]}, can be raised to {shown[1]}"}
    if 0 <= soft < _FEW_FILES:
        checkup.advice.append(
            f"a process may open {soft} files, which is few for `serve`. "
            f"Raise it with `ulimit -n {_FEW_FILES}`."
        )

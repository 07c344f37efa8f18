"""What packages say of themselves once they are imported.

It runs in a process of its own (packages.py): a broken package may raise anything, print anything, hang, or
end the process that imports it.
"""

import importlib
import json
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

CODECS = ("h264", "hevc", "vp9", "av1", "mpeg4")  # of nearly all videos
_SHOWN = 20  # models of a cache


def main(modules: Sequence[str]) -> None:
    """Import modules one after another; write what is known of each as a line of JSON, on stdout.

    A line with the module's name alone goes before, so that a reader knows which one ended the process. The
    first one that fails is the last: what it left half done may break those after it.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what packages print is no answer
    for name in modules:
        print(json.dumps([name]), file=answers, flush=True)
        try:
            facts = _FACTS.get(name, _nothing)(importlib.import_module(name))
        except BaseException as error:  # SystemExit, too
            facts = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps([name, facts]), file=answers, flush=True)
        if "error" in facts:
            break
    os._exit(0)  # a library that hangs at its end holds nothing up


def _nothing(_module: Any) -> dict[str, Any]:
    return {}


def _torch(torch: Any) -> dict[str, Any]:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        gpus = []
        if torch.cuda.is_available():
            every = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
            gpus = [[about.name, about.total_memory] for about in every]
    return {
        "cuda": torch.version.cuda or "",
        "gpus": gpus,
        "trouble": str(told[0].message).split("\n")[0] if told else "",
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def _faiss(faiss: Any) -> dict[str, Any]:
    if not hasattr(faiss, "IndexScalarQuantizer"):  # what is left when one of two packages was uninstalled
        return {"error": "it is empty"}
    return {"options": faiss.get_compile_options().strip(), "gpu": hasattr(faiss, "StandardGpuResources")}


def _av(av: Any) -> dict[str, Any]:
    def decodes(codec: str) -> bool:
        try:
            av.codec.Codec(codec, "r")
        except ValueError:
            return False
        return True

    libraries = {name: ".".join(map(str, numbers)) for name, numbers in av.library_versions.items()}
    return {"libraries": libraries, "decoders": [codec for codec in CODECS if decodes(codec)]}


def _hub(hub: Any) -> dict[str, Any]:
    cache = Path(hub.cache_folder())
    names = [path.name.removeprefix("models--").replace("--", "/") for path in cache.glob("models--*")]
    here = hub.local_folder(hub.DEFAULT_MODEL) is not None
    return {
        "cache": str(cache),
        "default": hub.DEFAULT_MODEL,
        "default_here": here,
        "text_here": hub.local_folder(hub.DEFAULT_TEXT_MODEL) is not None,
        "models": {name: hub.local_folder(name) is not None for name in sorted(names)[:_SHOWN]},
        "more": len(names[_SHOWN:]),
        "unreachable": hub.out_of_reach(),
    }


_FACTS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "torch": _torch,
    "faiss": _faiss,
    "av": _av,
    "mmn_index.hub": _hub,
}

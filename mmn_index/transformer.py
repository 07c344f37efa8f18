"""The part of a Hugging Face model that reads text: which class it is, its weights, how much it reads.

The text side of a model of two towers (CLIP, SigLIP, X-CLIP) and the encoder of an encoder-decoder (T5, BART)
are text encoders as BERT is; a decoder (GPT-2) is one that looks back only. Weights are read from safetensors
alone, and no code that comes with a model is run.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .errors import ConfigError
from .text_encoder import unused_parameters

_LONGEST = 8192  # tokens; nobody searches with more, however many an encoder could read


def _read_config(folder: Path, name: str) -> Any:
    """The configuration of a folder's model."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # whatever a config.json makes transformers do
        try:
            own = "auto_map" in json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            own = False
        if own:
            raise ConfigError(
                f"text encoder '{name}' needs code that comes with it, which is never run. Name an encoder "
                "that the package transformers knows."
            ) from error
        raise cannot_load(name, error) from error


def _architecture(config: Any, name: str) -> Any:
    """The class of the transformers package for a configuration; never one of other code."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING, MODEL_MAPPING

    for mapping in (MODEL_FOR_TEXT_ENCODING_MAPPING, MODEL_MAPPING):
        if type(config) in mapping:
            found = mapping[type(config)]
            return found[0] if isinstance(found, tuple) else found
    found = getattr(transformers, f"{type(config).__name__.removesuffix('Config')}Model", None)
    if found is None:
        raise ConfigError(f"text encoder '{name}': a model of type '{config.model_type}' reads no text.")
    return found


def load_encoder(folder: Path, name: str, config: Any = None) -> nn.Module:
    """The encoder of a folder, in eval mode.

    Args:
        config: of the encoder; if not given, the folder's own.

    Raises:
        ConfigError: its weights are missing, damaged, pickled, or those of something else.
    """
    from transformers import PretrainedConfig

    if not any(folder.glob("*.safetensors")):
        raise _no_weights(folder, name)
    own = None if config is not None else _read_config(folder, name)
    text = getattr(own, "text_config", None)
    config = text if isinstance(text, PretrainedConfig) else config or own
    model, lacking = _read(_architecture(config, name), folder, config, name)
    bert, begin = _encoder(model)
    bert.eval()
    lacking = {key.removeprefix(begin) for key in lacking if key.startswith(begin)}
    if _used(bert, lacking, name) and (text := _text_tower(folder, name)) is not None:
        tower, lacking = text
        lacking |= {*bert.load_state_dict(tower.state_dict(), strict=False).missing_keys}
    if used := sorted(_used(bert, lacking, name)):
        raise ConfigError(
            f"text encoder '{name}': its weights lack {len(used)} tensors of a {type(bert).__name__}, such "
            f"as '{used[0]}', or have them in another shape. Do config.json and model.safetensors belong "
            "together?"
        )
    with torch.no_grad():  # in place of random numbers, so that the same folder is the same encoder
        for key in lacking:
            if key in dict(bert.named_parameters()):
                bert.get_parameter(key).zero_()
    return bert  # type: ignore[no-any-return]


def _no_weights(folder: Path, name: str) -> ConfigError:
    pickled = next((path.name for kind in ("*.bin", "*.pt", "*.pth") for path in folder.glob(kind)), "")
    if not pickled:
        return ConfigError(f"text encoder '{name}': no weights in {folder}, expected model.safetensors.")
    return ConfigError(
        f"text encoder '{name}' has its weights as a pickle alone ({pickled}), which may hold code and is "
        "never loaded. If you trust it, convert it with transformers: "
        f"AutoModel.from_pretrained('{name}').save_pretrained('NEW')."
    )


def _read(architecture: Any, folder: Path, config: Any, name: str) -> tuple[Any, set[str]]:
    """A model with the weights of a folder, and the names of those that the folder lacks."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # the library never prints; what is missing is checked
    logging.disable_progress_bar()
    try:
        model, about = architecture.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            local_files_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (
        Exception
    ) as error:  # OSError, ValueError, RuntimeError, SafetensorError, KeyError ... of transformers
        raise cannot_load(name, error) from error
    finally:
        logging.set_verbosity(verbosity)
    return model, {*map(str, about["missing_keys"]), *(str(k[0]) for k in about.get("mismatched_keys", ()))}


def _encoder(model: Any) -> tuple[Any, str]:
    """What of a model reads text, and how the names of its parameters begin in the model."""
    if getattr(model.config, "is_encoder_decoder", False) and hasattr(model, "decoder"):
        encoder = model.get_encoder()
        return encoder, next(f"{name}." for name, module in model.named_modules() if module is encoder)
    return model, ""


def _text_tower(folder: Path, name: str) -> tuple[nn.Module, set[str]] | None:
    """The text side of a folder's model of two towers, and what it lacks; None if it has none."""
    config = _read_config(folder, name)
    if not hasattr(config, "text_config"):
        return None
    model, lacking = _read(_architecture(config, name), folder, config, name)
    begin = "text_model."
    if not hasattr(model, "text_model"):
        return None
    return model.text_model, {key.removeprefix(begin) for key in lacking if key.startswith(begin)}


def _used(bert: nn.Module, lacking: set[str], name: str) -> set[str]:
    """Which of the weights that a file lacks, and that are random numbers then, embed anything."""
    try:
        return (lacking & dict(bert.named_parameters()).keys()) - unused_parameters(bert)
    except Exception as error:  # it is none that reads text
        raise no_encoder(bert, name, error) from error


def read_text_config(text_config: dict[str, Any]) -> Any:
    """The configuration that a checkpoint holds, as the transformers package takes it."""
    from transformers import AutoConfig

    return AutoConfig.for_model(**text_config)


def new_encoder(text_config: dict[str, Any], where: str) -> nn.Module:
    """An encoder of a configuration, as `to_dict` gives it, with untrained weights."""
    bert, _ = _encoder(_architecture(config := read_text_config(text_config), where)(config))
    return bert  # type: ignore[no-any-return]


def rows_of(bert: Any) -> int:
    """Rows of an encoder's embedding: the ids that it knows."""
    return int(bert.get_input_embeddings().weight.shape[0])


def filler_of(bert: Any) -> int:
    """The id that an encoder is padded with; it is masked, so that any id will do where none is stated."""
    filler = getattr(bert.config, "pad_token_id", None)
    return filler if isinstance(filler, int) and 0 <= filler < rows_of(bert) else 0


class _Reached(Exception):  # noqa: N818
    """The first layer: tokens have their positions."""


def usable_length(bert: Any) -> int:
    """How many tokens an encoder reads, special tokens included: found by giving it more and more.

    A table of positions may hold some that no token gets, as RoBERTa's, which counts from behind the padding
    id; and not every model has a table.
    """
    positions = getattr(bert.config, "max_position_embeddings", None)
    most = min(positions, _LONGEST) if isinstance(positions, int) and positions > 0 else _LONGEST
    layers: Any = next((m for m in bert.modules() if isinstance(m, nn.ModuleList) and len(m)), None)
    while isinstance(layers, nn.ModuleList) and len(layers):
        layers = layers[0]

    def stop(*_: Any) -> None:
        raise _Reached

    hook = layers.register_forward_pre_hook(stop) if layers is not None else None
    try:
        longest, too_long = 0, most + 1
        trial = most
        while longest + 1 < too_long:
            longest, too_long = (trial, too_long) if _reads(bert, trial) else (longest, trial)
            trial = (longest + too_long) // 2
        return longest
    finally:
        if hook is not None:
            hook.remove()


@torch.no_grad()
def _reads(bert: Any, tokens: int) -> bool:
    """Whether a sentence of so many tokens gets to the first layer."""
    # No padding: some models count positions by the tokens that are none.
    token = next(x for x in (0, 1) if x != getattr(bert.config, "pad_token_id", None))
    ids = torch.full((1, tokens), token)
    try:
        bert(input_ids=ids, attention_mask=torch.ones_like(ids))
    except _Reached:
        return True
    except Exception:  # each model says in its own way that it has no more positions
        return False
    return True


def cannot_load(name: str, error: Exception) -> ConfigError:
    """What to say of files that the transformers or tokenizers package does not read."""
    reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return ConfigError(
        f"text encoder '{name}' cannot be loaded ({reason[:300]}). Expected a hub id (with network) or a "
        "directory with config.json, model.safetensors and tokenizer.json."
    )


def no_encoder(bert: nn.Module, name: str, error: Exception) -> ConfigError:
    """What to say of a model that does not take tokens."""
    reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return ConfigError(
        f"text encoder '{name}' is a {type(bert).__name__}, which cannot be used to embed sentences "
        f"({reason[:200]}). Name an encoder such as BERT, MPNet, T5 or CLIP."
    )

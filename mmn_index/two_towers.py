"""Models whose pictures and texts share a space (CLIP, SigLIP, X-CLIP ...), cut to the tower that is needed.

Which models these are is asked of the transformers library and not listed: they have `get_text_features` and
`get_image_features` or `get_video_features`. Weights of a file that are not needed are mapped into memory and
never read.
"""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from .errors import ConfigError

_Result = TypeVar("_Result")
# How feature files name what was pooled, for the kinds that had names before all others came.
_POOLED = {"clip": "image_embeds", "siglip": "pooler_output"}
DEFAULT_TAU = 0.05  # where a model has no temperature of its own


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from writing progress bars and load reports to stderr: what is missing is checked."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def first_sentence(error: Exception) -> str:
    """The first sentence of a message that may fill a page."""
    first = " ".join(str(error).split()).split(". ")[0].rstrip(".:") or type(error).__name__
    return f"{first[:300]}."


def read_config(folder: Path, name: str) -> Any:
    """The configuration of a folder's model.

    Raises:
        ConfigError: there is none that the transformers library knows without running other code.
    """
    from transformers import AutoConfig

    try:
        with quiet():
            return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # whatever a config.json makes transformers do
        raise ConfigError(f"{name}: {first_sentence(error)} Is {folder} the folder of a model?") from error


def towers_of(config: Any) -> Any:
    """The class of a configuration's model if that has two towers; None for any other."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    found = MODEL_MAPPING.get(type(config), None)
    found = found[0] if isinstance(found, tuple) else found
    return found if hasattr(found, "get_text_features") and picture_method(found) else None


def processor_defaults(config: Any, kind: str) -> dict[str, Any]:
    """What the class of a model's processor sets as "text_kwargs" or "video_kwargs", if anything."""
    import transformers
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES
    from transformers.processing_utils import ProcessorMixin

    processor = getattr(transformers, str(PROCESSOR_MAPPING_NAMES.get(config.model_type)), None)
    if not isinstance(processor, type) or not issubclass(processor, ProcessorMixin):
        return {}
    if (stated := getattr(processor, kind, None)) is not None:
        return dict(stated)
    # Before transformers 5.23 or so it was said in another place.
    kwargs = vars(sys.modules[processor.__module__]).get(f"{processor.__name__}Kwargs")
    return dict(getattr(kwargs, "_defaults", {}).get(kind, {}))


def picture_method(towers: Any) -> str:
    """How a class or a model describes pictures: single ones where it can, else videos; empty if neither."""
    names = ("get_image_features", "get_video_features")
    return next((name for name in names if hasattr(towers, name)), "")


def features_name(kept: str, config: Any, towers: Any) -> str:
    """What feature files call snippets of a model: `NAME#WHAT`.

    Args:
        kept: hub id, or absolute path of a folder, of which the last part counts.
    """
    label = Path(kept).name if Path(kept).is_absolute() else kept
    pooled = picture_method(towers).removeprefix("get_")
    return f"{label}#{_POOLED.get(config.model_type, pooled)}"


def load_towers(folder: Path, config: Any, name: str, *, pickles: bool = False) -> tuple[Any, set[str]]:
    """A model of two towers in eval mode and float32, and the names of tensors that its folder lacks.

    Args:
        pickles: weights in PyTorch's old format will do; no code in them is run.

    Raises:
        ConfigError: there are no weights, or other ones.
    """
    return load_model(towers_of(config), folder, config, name, pickles=pickles)


def load_model(
    architecture: Any, folder: Path, config: Any, name: str, *, pickles: bool = False
) -> tuple[Any, set[str]]:
    """A model of a class of the transformers library; as `load_towers`."""
    if not pickles and not any(folder.glob("*.safetensors")):
        raise _no_weights(folder, name)
    try:
        with quiet():
            model, about = architecture.from_pretrained(
                folder,
                config=config,
                trust_remote_code=False,
                local_files_only=True,
                weights_only=True,
                use_safetensors=None if pickles else True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except Exception as error:  # OSError, ValueError, RuntimeError, SafetensorError ... of transformers
        raise ConfigError(f"{name}: its weights cannot be loaded. {first_sentence(error)}") from error
    other = {str(key[0]) for key in about.get("mismatched_keys", ())}
    return model.eval(), {*map(str, about["missing_keys"])} | other


def _no_weights(folder: Path, name: str) -> ConfigError:
    pickled = next((path.name for kind in ("*.bin", "*.pt", "*.pth") for path in folder.glob(kind)), "")
    if not pickled:
        return ConfigError(f"{name}: no weights in {folder}, expected model.safetensors.")
    return ConfigError(
        f"{name}: has its weights as a pickle alone ({pickled}), which may hold code and is never loaded. If "
        f"you trust it, convert it with AutoModel.from_pretrained('{name}').save_pretrained('NEW')."
    )


def check_complete(model: Any, lacking: set[str], name: str) -> None:
    """What is left of a model has to be in its file; transformers would have put random numbers there.

    Raises:
        ConfigError: it is not.
    """
    if used := sorted(lacking & model.state_dict().keys()):
        raise ConfigError(
            f"{name}: its weights lack {len(used)} of the tensors of a {type(model).__name__}, e.g. "
            f"'{used[0]}'. Do config.json and model.safetensors belong together?"
        )


@torch.inference_mode()
def cut(model: Any, use: Callable[[Any], _Result]) -> _Result:
    """Take away the parts of a model that one use of it does not touch, and return what that gave.

    Raises:
        whatever `use` does.
    """
    touched = set[str]()
    hooks = [
        module.register_forward_pre_hook(lambda *_, part=part: touched.add(part))
        for part, child in model.named_children()
        for module in child.modules()
    ]
    try:
        result = use(model)
    finally:
        for hook in hooks:
            hook.remove()
    for part, _ in list(model.named_children()):
        if part not in touched:
            delattr(model, part)
    return result


def text_features(model: Any, inputs: Mapping[str, Any]) -> Tensor:
    """`get_text_features` of what a tokenizer gives: (Q, C), not normalised."""
    return _features(model.get_text_features, inputs)


def picture_features(model: Any, inputs: Mapping[str, Any]) -> Tensor:
    """`get_image_features` or `get_video_features` of what a processor gives: (n, D), not normalised."""
    return _features(getattr(model, picture_method(model)), inputs)


def _features(method: Callable[..., Any], inputs: Mapping[str, Any]) -> Tensor:
    known = inspect.signature(method).parameters
    given = method(**{key: value for key, value in inputs.items() if key in known})
    pooled = given if isinstance(given, Tensor) else given.pooler_output  # a tensor before transformers 5
    if isinstance(pooled, Tensor) and pooled.ndim == 3 and pooled.shape[1] == 1:
        pooled = pooled[:, 0]  # as VideoPrism pools
    if not isinstance(pooled, Tensor) or pooled.ndim != 2:
        shape = tuple(pooled.shape) if isinstance(pooled, Tensor) else None
        raise ValueError(f"{method.__name__} gives features of shape {shape}, expected one row each")
    return pooled.float()


def tau_of(model: Any) -> float:
    """The temperature that a model was trained with: what the cosines of its loss are divided by."""
    held = {name.split(".")[-1]: value for name, value in model.named_parameters()}
    scale = next((value for name, value in held.items() if name.endswith("logit_scale")), None)
    if scale is not None:
        most = getattr(model, "max_log_logit_scale", None)
        log = float(scale.detach().float().reshape(-1)[0])
        return float(torch.tensor(-(log if most is None else min(log, most))).exp())
    temperature = held.get("temperature")
    return DEFAULT_TAU if temperature is None else float(temperature.detach().float().reshape(-1)[0])

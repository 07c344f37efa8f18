"""Folders with tiny dual encoders of random weights, as their authors' libraries save them."""

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = [
    "<s>",
    "<pad>",
    "</s>",
    "<unk>",
    *["a", "A", "person", "Person", "opens", "closes", "the", "door", "reads", "book", "of", "video"],
]
TEXT = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 20,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
}
XLM = {**TEXT, "max_position_embeddings": 22, "type_vocab_size": 1}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
LONG = {**TEXT, "max_position_embeddings": 64}
CROP = {
    "size": {"shortest_edge": 40},
    "crop_size": {"height": 32, "width": 32},
    "do_center_crop": True,
    "image_mean": [0.48, 0.46, 0.41],
    "image_std": [0.27, 0.26, 0.28],
}
SQUARE = {"size": {"height": 32, "width": 32}}
MIT = {
    "mit_hidden_size": 8,
    "mit_intermediate_size": 16,
    "mit_num_hidden_layers": 1,
    "mit_num_attention_heads": 2,
}


def _align() -> Any:
    vision = {
        "image_size": 32,
        "hidden_dim": 12,
        "in_channels": [32, 8],
        "out_channels": [8, 12],
        "kernel_sizes": [3, 3],
        "strides": [1, 2],
        "num_block_repeats": [1, 1],
        "expand_ratios": [1, 2],
        "depthwise_padding": [],
        "width_coefficient": 1.0,
        "depth_coefficient": 1.0,
        "depth_divisor": 4,
    }
    return hf.AlignConfig(text_config=LONG, vision_config=vision, projection_dim=12)


def _videoprism() -> Any:
    vision = {
        **VISION,
        "num_frames": 4,
        "num_spatial_layers": 1,
        "num_temporal_layers": 1,
        "tubelet_size": [1, 18, 18],
        "image_size": 288,
    }
    return hf.VideoPrismConfig(text_config=LONG, vision_config={**vision, "num_auxiliary_layers": 1})


def _mixed() -> Any:
    return hf.VisionTextDualEncoderConfig.from_vision_text_configs(
        hf.ViTConfig(**VISION), hf.BertConfig(**TEXT), projection_dim=8
    )


# The configuration, the class of its image processor, and that one's settings.
KINDS: dict[str, tuple[Callable[[], Any], str, dict[str, Any]]] = {
    "clip": (
        lambda: hf.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=8),
        "CLIPImageProcessor",
        CROP,
    ),
    "siglip": (
        lambda: hf.SiglipConfig(text_config=TEXT, vision_config=VISION),
        "SiglipImageProcessor",
        SQUARE,
    ),
    "siglip2": (
        lambda: hf.Siglip2Config(
            text_config={**LONG, "vocab_size": 40}, vision_config={**VISION, "num_patches": 16}
        ),
        "Siglip2ImageProcessor",
        {"patch_size": 8, "max_num_patches": 20},
    ),
    "metaclip2": (
        lambda: hf.MetaClip2Config(text_config=TEXT, vision_config=VISION, projection_dim=8),
        "CLIPImageProcessor",
        CROP,
    ),
    "altclip": (
        lambda: hf.AltCLIPConfig(
            text_config={**XLM, "project_dim": 12}, vision_config=VISION, projection_dim=8
        ),
        "CLIPImageProcessor",
        CROP,
    ),
    "chinese-clip": (
        lambda: hf.ChineseCLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=8),
        "ChineseCLIPImageProcessor",
        {**SQUARE, "do_center_crop": False},
    ),
    "align": (
        _align,
        "EfficientNetImageProcessor",
        {
            "size": {"height": 40, "width": 40},
            "crop_size": {"height": 32, "width": 32},
            "do_center_crop": True,
            "rescale_factor": 1 / 127.5,
            "rescale_offset": True,
            "do_normalize": False,
            "include_top": False,
        },
    ),
    "x-clip": (
        lambda: hf.XCLIPConfig(
            text_config=TEXT, vision_config={**VISION, **MIT, "num_frames": 4}, projection_dim=8
        ),
        "VideoMAEImageProcessor",
        CROP,
    ),
    "aimv2": (
        lambda: hf.Aimv2Config(text_config=TEXT, vision_config=VISION, projection_dim=8),
        "CLIPImageProcessor",
        CROP,
    ),
    "vision-text": (_mixed, "ViTImageProcessor", SQUARE),
    "tipsv2": (
        lambda: hf.Tipsv2Config(text_config=LONG, vision_config=VISION),
        "Tipsv2ImageProcessor",
        SQUARE,
    ),
    "videoprism": (_videoprism, "LlavaOnevisionVideoProcessor", SQUARE),
}
TORCHVISION = {"tipsv2", "videoprism"}  # their processors need that package
VIDEOS = {"x-clip", "videoprism"}


def save_tokenizer(folder: Path, *, lower: bool = False, **settings: Any) -> None:
    """A word a token, between <s> and </s>."""
    made = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    if lower:
        made.normalizer = normalizers.Lowercase()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    hf.PreTrainedTokenizerFast(tokenizer_object=made, **{**named, **settings}).save_pretrained(folder)


def save_siglip2_tokenizer(folder: Path) -> None:
    """A letter a token; large letters become small ones, as there are no others."""
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "\u2581", *string.ascii_lowercase]
    made = hf.Siglip2Tokenizer(
        vocab={piece: n for n, piece in enumerate(pieces)},
        merges=[],
        padding_side="right",
        model_max_length=64,
        model_input_names=["input_ids"],
    )
    made.save_pretrained(folder)


def save(kind: str, folder: Path, seed: int = 0, **stored: Any) -> Path:
    """A folder as `save_pretrained` of model, tokenizer and image processor leave it."""
    make, processor, settings = KINDS[kind]
    torch.manual_seed(seed)
    config = make()
    model = hf.AutoModel.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # so that what is pooled is not nearly the same for all
            if parameter.ndim > 1:
                parameter.mul_(4 if parameter.ndim == 2 else 24)
    model.to(**stored).save_pretrained(folder)
    length = 64 if kind in ("siglip2", "align", "tipsv2", "videoprism") else 20
    # As the models on the Hub: SigLIP's tokenizer gives no mask, as it was trained without.
    names = ["input_ids"] if kind.startswith("siglip") else ["input_ids", "attention_mask"]
    if kind == "siglip2":
        save_siglip2_tokenizer(folder)
    else:
        save_tokenizer(folder, model_max_length=length, model_input_names=names)
    kept = "video_" if kind == "videoprism" else ""
    (folder / f"{kept}preprocessor_config.json").write_text(
        json.dumps({f"{kept or 'image_'}processor_type": processor, **settings})
    )
    return folder

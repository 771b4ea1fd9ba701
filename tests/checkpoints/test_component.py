import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from safetensors.numpy import load_file, save_file

from img2img_jax.checkpoints import CheckpointError, load_component, save_component
from img2img_jax.models import AutoencoderTiny, CLIPTextModel, UNet2DConditionModel

KEY = "text_model.encoder.layers.1.mlp.fc1.weight"


def parameters(model):
    return {path: np.asarray(leaf[...]) for path, leaf in nnx.to_flat_state(nnx.state(model))}


def assert_same(model, other):
    expected, found = parameters(model), parameters(other)
    assert expected.keys() == found.keys()
    for path, values in expected.items():
        np.testing.assert_array_equal(values, found[path], err_msg=str(path))


def rewrite(folder, change, name="model.safetensors"):
    """Applies ``change`` to the dict of a weight file's tensors."""
    tensors = load_file(folder / name)
    change(tensors)
    save_file(tensors, folder / name, metadata={"format": "pt"})


def test_round_trip_is_exact_for_every_class(any_model, tmp_path):
    save_component(any_model, tmp_path)
    loaded = load_component(type(any_model), tmp_path)
    assert loaded.config == any_model.config
    assert_same(any_model, loaded)


def test_shapes_come_before_bytes(folder):
    """A configuration that asks for 64 terabytes fails by its shapes; nothing of that size is ever made."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 2**31, "hidden_size": 2**13}))
    with pytest.raises(CheckpointError, match=r"token_embedding.weight is \[20, 8\], must be \[2147483648, 8192\]"):
        load_component(CLIPTextModel, folder)


@pytest.mark.parametrize("stored", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("held", ["bfloat16", "float32"])
def test_any_precision_in_the_file_becomes_the_one_asked_for(text_model, tmp_path, stored, held):
    save_component(text_model, tmp_path, dtype=stored)
    loaded = load_component(CLIPTextModel, tmp_path, dtype=held)
    for path, values in parameters(text_model).items():
        expected = jnp.asarray(values).astype(stored).astype(held)
        found = parameters(loaded)[path]
        assert found.dtype == jnp.dtype(held)
        np.testing.assert_array_equal(np.asarray(expected, np.float32), found.astype(np.float32))
    assert loaded.dtype == jnp.dtype(held)


@pytest.mark.parametrize("name", ["F8_E4M3", "F8_E5M2"])
def test_float8_files_load(folder, name, text_model):
    dtype = {"F8_E4M3": jnp.float8_e4m3fn, "F8_E5M2": jnp.float8_e5m2}[name]
    save_component(text_model, folder, dtype=dtype)
    loaded = parameters(load_component(CLIPTextModel, folder))
    for path, values in parameters(text_model).items():
        np.testing.assert_array_equal(values.astype(dtype).astype(np.float32), loaded[path])


def test_shards_hold_the_same_and_leave_no_stale_file(text_model, folder):
    save_component(text_model, folder, max_shard_size=1000)
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 2 and not (folder / "model.safetensors").exists()
    assert shards[0].name == f"model-00001-of-{len(shards):05d}.safetensors"
    assert_same(text_model, load_component(CLIPTextModel, folder))

    save_component(text_model, folder, max_shard_size=4000)
    assert 1 < len(sorted(folder.glob("*.safetensors"))) < len(shards)
    save_component(text_model, folder)
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert_same(text_model, load_component(CLIPTextModel, folder))


@pytest.mark.parametrize("max_shard_size", [None, 1000])
def test_variants_live_side_by_side(text_model, folder, max_shard_size):
    save_component(text_model, folder, dtype="float16", variant="fp16", max_shard_size=max_shard_size)
    assert_same(text_model, load_component(CLIPTextModel, folder))
    half = parameters(load_component(CLIPTextModel, folder, variant="fp16"))
    for path, values in parameters(text_model).items():
        np.testing.assert_array_equal(values.astype(np.float16).astype(np.float32), half[path])
    with pytest.raises(CheckpointError, match="model.bf16.safetensors"):
        load_component(CLIPTextModel, folder, variant="bf16")


def test_shardings_place_every_parameter(text_model, folder):
    mesh = Mesh(np.asarray(jax.devices()[:1]), ("data",))
    seen = {}

    def rule(path, shape):
        seen[path] = shape
        return NamedSharding(mesh, PartitionSpec(*([None] * len(shape))))

    loaded = load_component(CLIPTextModel, folder, sharding=rule)
    assert_same(text_model, loaded)
    assert seen == {path: values.shape for path, values in parameters(text_model).items()}
    for leaf in jax.tree.leaves(nnx.state(loaded)):
        assert isinstance(leaf.sharding, NamedSharding) and leaf.sharding.mesh == mesh


def test_keys_without_the_prefix_and_old_buffers_are_read(text_model, folder):
    def bare(tensors):
        for key in list(tensors):
            tensors[key.removeprefix("text_model.")] = tensors.pop(key)
        tensors["embeddings.position_ids"] = np.arange(7)[None]

    rewrite(folder, bare)
    assert_same(text_model, load_component(CLIPTextModel, folder))


def test_missing_unmatched_and_misshapen_keys_are_named(folder):
    def damage(tensors):
        tensors["text_model.surplus.weight"] = tensors.pop(KEY)
        tensors["text_model.final_layer_norm.bias"] = np.zeros((3, 5), np.float32)

    rewrite(folder, damage)
    with pytest.raises(CheckpointError) as caught:
        load_component(CLIPTextModel, folder)
    message = str(caught.value)
    assert f"1 missing: {KEY}" in message
    assert "1 unmatched: text_model.surplus.weight" in message
    assert "text_model.final_layer_norm.bias is [3, 5], must be [8] (model.safetensors)" in message
    assert str(folder) in message


def test_a_transposed_tensor_is_misshapen(folder):
    rewrite(folder, lambda tensors: tensors.update({KEY: np.ascontiguousarray(tensors[KEY].T)}))
    with pytest.raises(CheckpointError, match=r"fc1.weight is \[8, 12\], must be \[12, 8\]"):
        load_component(CLIPTextModel, folder)


def test_at_most_ten_keys_of_a_kind_are_listed(folder):
    rewrite(folder, lambda tensors: tensors.update({f"more.{i}": np.zeros(1, np.float32) for i in range(13)}))
    with pytest.raises(CheckpointError) as caught:
        load_component(CLIPTextModel, folder)
    assert "13 unmatched" in str(caught.value) and str(caught.value).count("more.") == 10
    assert "and 3 more" in str(caught.value)


def test_one_parameter_under_two_names_is_an_error(folder):
    rewrite(folder, lambda t: t.update({"final_layer_norm.bias": t["text_model.final_layer_norm.bias"]}))
    with pytest.raises(CheckpointError, match="name one parameter"):
        load_component(CLIPTextModel, folder)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named(folder, value):
    rewrite(folder, lambda tensors: tensors[KEY].__setitem__((2, 3), value))
    with pytest.raises(CheckpointError, match="layers.1.mlp.fc1.weight .* not finite"):
        load_component(CLIPTextModel, folder)


def test_integers_are_no_parameters(folder):
    rewrite(folder, lambda tensors: tensors.update({KEY: np.zeros((12, 8), np.int32)}))
    with pytest.raises(CheckpointError, match="I32"):
        load_component(CLIPTextModel, folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": "wide"}, "describes no model that can be built: TypeError"),
        ({"hidden_act": "tanhh"}, "'tanhh' is not supported"),
        ({"vocab_size": 21}, r"token_embedding.weight is \[20, 8\], must be \[21, 8\]"),
        ({"num_hidden_layers": 3}, "16 missing: text_model.encoder.layers.2"),
        ({"_class_name": "UNet2DConditionModel"}, "describes a UNet2DConditionModel, not a CLIPTextModel"),
        ({"text_tricks": 2}, "text_tricks=2"),
    ],
)
def test_a_configuration_that_does_not_fit_is_an_error(folder, change, message):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(CheckpointError, match=message):
        load_component(CLIPTextModel, folder)


def test_config_names_the_class_for_other_loaders(any_model, tmp_path):
    save_component(any_model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    name = type(any_model).__name__
    assert config.get("_class_name") == name or config["architectures"] == [name]
    with pytest.raises(CheckpointError):
        load_component(UNet2DConditionModel if name != "UNet2DConditionModel" else AutoencoderTiny, tmp_path)


def test_a_failed_save_leaves_the_old_checkpoint(text_model, folder):
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    broken = jax.tree.map(lambda leaf: leaf * 1e6, nnx.state(text_model))
    graph, _ = nnx.split(text_model)
    with pytest.raises(CheckpointError, match="not finite in float16"):
        save_component(nnx.merge(graph, broken), folder, dtype="float16")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


@pytest.mark.parametrize("max_shard_size", [None, 1000])
def test_a_crash_never_pairs_new_weights_with_an_old_configuration(text_model, folder, monkeypatch, max_shard_size):
    """The configuration goes before the weights come, and comes after them."""
    from img2img_jax.checkpoints import weight_files

    def crash(path, value):
        if path.name == "config.json":
            raise KeyboardInterrupt
        write(path, value)

    write = weight_files.write_json
    monkeypatch.setattr(weight_files, "write_json", crash)
    with pytest.raises(KeyboardInterrupt):
        save_component(text_model, folder, max_shard_size=max_shard_size)
    assert list(folder.glob("*.safetensors")) and not (folder / "config.json").exists()
    with pytest.raises(CheckpointError, match="config.json is missing"):
        load_component(CLIPTextModel, folder)


def test_a_class_without_a_table_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="no key table for Linear"):
        save_component(nnx.Linear(1, 1, rngs=nnx.Rngs(0)), tmp_path)


def test_variables_that_no_file_holds_are_an_error(text_model, tmp_path):
    model = nnx.clone(text_model)
    model.counter = nnx.Variable(jnp.zeros(()))
    with pytest.raises(TypeError, match="counter"):
        save_component(model, tmp_path)

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from img2img_jax.checkpoints import (
    CheckpointError,
    load_component,
    orbax_component,
    restore_orbax,
    save_component,
    save_orbax,
    weight_files,
)
from img2img_jax.models import CLIPTextModel


@pytest.fixture
def sharding():
    return NamedSharding(Mesh(np.asarray(jax.devices()[:1]), ("data",)), PartitionSpec())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_saved_is_restored_to_the_sharding(text_model, tmp_path, sharding, dtype):
    save_orbax(text_model, tmp_path)
    restored = restore_orbax(CLIPTextModel, tmp_path, dtype=dtype, sharding=lambda path, shape: sharding)
    assert restored.config == text_model.config and restored.dtype == jnp.dtype(dtype)
    pairs = zip(jax.tree.leaves(nnx.state(text_model)), jax.tree.leaves(nnx.state(restored)), strict=True)
    for before, after in pairs:
        assert after.sharding == sharding
        np.testing.assert_array_equal(np.asarray(before.astype(dtype)), np.asarray(after))


def leaves(model):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model))]


@pytest.mark.parametrize("shards", [None, 1000])
def test_either_way_to_save_replaces_the_other(text_model, tmp_path, sharding, shards):
    """Old weights must not be loaded beside a new configuration; other variants are left alone."""
    graph, state = nnx.split(text_model)
    other = nnx.merge(graph, jax.tree.map(lambda leaf: 2 * leaf, state))
    restore = partial(restore_orbax, CLIPTextModel, tmp_path, sharding=lambda path, shape: sharding)
    save_component(text_model, tmp_path, variant="fp16")
    save_component(text_model, tmp_path, max_shard_size=shards)
    save_orbax(other, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json", "model.fp16.safetensors", "orbax"]
    jax.tree.map(np.testing.assert_array_equal, leaves(restore()), leaves(other))
    with pytest.raises(CheckpointError, match="holds neither model.safetensors"):
        load_component(CLIPTextModel, tmp_path)
    save_component(text_model, tmp_path, max_shard_size=shards)
    jax.tree.map(np.testing.assert_array_equal, leaves(load_component(CLIPTextModel, tmp_path)), leaves(text_model))
    with pytest.raises(CheckpointError, match="holds no orbax folder"):
        restore()


@pytest.mark.parametrize(("first", "second"), [(save_component, save_orbax), (save_orbax, save_component)])
def test_a_crash_between_the_two_leaves_nothing_that_loads(text_model, tmp_path, sharding, monkeypatch, first, second):
    def crash(*_, **__):
        raise KeyboardInterrupt

    first(text_model, tmp_path)
    for module in (orbax_component, weight_files):
        monkeypatch.setattr(module, "remove_weights", crash)
    with pytest.raises(KeyboardInterrupt):
        second(text_model, tmp_path)
    with pytest.raises(CheckpointError, match="config.json is missing"):
        load_component(CLIPTextModel, tmp_path)
    with pytest.raises(CheckpointError, match="config.json is missing"):
        restore_orbax(CLIPTextModel, tmp_path, sharding=lambda path, shape: sharding)


def test_a_folder_without_is_an_error(folder, sharding):
    with pytest.raises(CheckpointError, match="text_encoder holds no orbax folder"):
        restore_orbax(CLIPTextModel, folder, sharding=lambda path, shape: sharding)


def test_a_save_of_another_shape_is_an_error(text_model, tmp_path, sharding):
    save_orbax(text_model, tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    with pytest.raises(CheckpointError, match="cannot be restored"):
        restore_orbax(CLIPTextModel, tmp_path, sharding=lambda path, shape: sharding)

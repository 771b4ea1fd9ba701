import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from img2img_jax.checkpoints import CheckpointError, restore_orbax, save_orbax
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


def test_a_folder_without_is_an_error(folder, sharding):
    with pytest.raises(CheckpointError, match="text_encoder holds no orbax folder"):
        restore_orbax(CLIPTextModel, folder, sharding=lambda path, shape: sharding)


def test_a_save_of_another_shape_is_an_error(text_model, tmp_path, sharding):
    save_orbax(text_model, tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    with pytest.raises(CheckpointError, match="cannot be restored"):
        restore_orbax(CLIPTextModel, tmp_path, sharding=lambda path, shape: sharding)

import hashlib

import jax.numpy as jnp
import numpy as np

from img2img_jax.checkpoints import tree_digest, weight_digests
from img2img_jax.file_digest import file_sha256


def test_digests_of_weights_by_path(tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "a.safetensors").write_bytes(b"abc")
    (tmp_path / "b.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_bytes(b"{}")
    assert file_sha256(tmp_path / "unet" / "a.safetensors") == hashlib.sha256(b"abc").hexdigest()
    assert weight_digests(tmp_path) == {
        "b.safetensors": hashlib.sha256(b"").hexdigest(),
        "unet/a.safetensors": hashlib.sha256(b"abc").hexdigest(),
    }


def test_the_digest_of_a_checkpoint_that_is_one_file(tmp_path):
    (tmp_path / "m.safetensors").write_bytes(b"abc")
    assert weight_digests(tmp_path / "m.safetensors") == {"m.safetensors": hashlib.sha256(b"abc").hexdigest()}


def test_digests_of_arrays_see_names_kinds_shapes_and_values():
    trees = [{"a": np.zeros(2)}, {"b": np.zeros(2)}, {"a": np.zeros(2, np.float32)}, {"a": np.zeros((2, 1))}]
    trees += [{"a": np.array([0.0, 1.0])}, {"a": np.zeros(2, jnp.bfloat16)}, {"a": np.zeros(())}, {}]
    assert len({tree_digest(tree) for tree in trees}) == len(trees)
    assert tree_digest({"a": jnp.ones(3)}) == tree_digest({"a": np.ones(3, np.float32)})

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from img2img_jax.checkpoints import CheckpointError
from img2img_jax.checkpoints.weight_files import WeightNames, open_weights, weight_files

NAMES = WeightNames(stem="model")


def sharded(folder, weight_map, shards):
    for name, keys in shards.items():
        save_file({key: np.ones(2, np.float32) for key in keys}, folder / name)
    (folder / NAMES.index).write_text(json.dumps({"weight_map": weight_map}))


def test_names_are_those_of_diffusers_and_transformers():
    plain, half = WeightNames(stem="diffusion_pytorch_model"), WeightNames(stem="model", variant="fp16")
    assert plain.single == "diffusion_pytorch_model.safetensors"
    assert plain.index == "diffusion_pytorch_model.safetensors.index.json"
    assert plain.shard(1, 2) == "diffusion_pytorch_model-00001-of-00002.safetensors"
    assert half.single == "model.fp16.safetensors"
    assert half.index == "model.safetensors.index.fp16.json"
    assert half.shard(2, 12) == "model.fp16-00002-of-00012.safetensors"
    assert half.is_shard("model.fp16-00002-of-00012.safetensors")
    assert not half.is_shard("model-00002-of-00012.safetensors")


@pytest.mark.parametrize("variant", ["../x", "", "a/b", "a.b"])
def test_a_variant_is_a_plain_tag(variant):
    with pytest.raises(CheckpointError, match="variant="):
        WeightNames(stem="model", variant=variant)


def test_shards_are_joined(tmp_path):
    sharded(tmp_path, {"x": "a.safetensors", "y": "b.safetensors"}, {"a.safetensors": "x", "b.safetensors": "y"})
    tensors = open_weights(tmp_path, NAMES)
    assert {key: tensor.file.name for key, tensor in tensors.items()} == {"x": "a.safetensors", "y": "b.safetensors"}
    assert weight_files(tmp_path, NAMES) == [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]


@pytest.mark.parametrize(
    "name",
    ["../a.safetensors", "/etc/a.safetensors", "b/a.safetensors", "..\\a.safetensors", ".a.safetensors", "a.bin", 7]
    + ["a.safetensors\n", "a\0.safetensors", None, ["a.safetensors"]],
)
def test_an_index_cannot_lead_out_of_its_folder(tmp_path, name):
    inner = tmp_path / "unet"
    inner.mkdir()
    save_file({"x": np.ones(2, np.float32)}, tmp_path / "a.safetensors")
    sharded(inner, {"x": name}, {})
    with pytest.raises(CheckpointError, match="no .safetensors file of this folder"):
        open_weights(inner, NAMES)


def test_a_missing_shard_is_named(tmp_path):
    sharded(tmp_path, {"x": "a.safetensors", "y": "b.safetensors"}, {"a.safetensors": "x"})
    with pytest.raises(CheckpointError, match="b.safetensors, which is missing"):
        open_weights(tmp_path, NAMES)


def test_an_index_that_lies_is_an_error(tmp_path):
    sharded(tmp_path, {"x": "a.safetensors", "z": "a.safetensors"}, {"a.safetensors": "x"})
    with pytest.raises(CheckpointError, match="z is in a.safetensors, but it is not"):
        open_weights(tmp_path, NAMES)


def test_a_key_in_two_shards_is_an_error(tmp_path):
    weight_map = {"x": "a.safetensors", "y": "b.safetensors"}
    sharded(tmp_path, weight_map, {"a.safetensors": "x", "b.safetensors": "xy"})
    with pytest.raises(CheckpointError, match="x is in a.safetensors and in b.safetensors"):
        open_weights(tmp_path, NAMES)


@pytest.mark.parametrize("content", ['{"weight_map": []}', "{}", '{"weight_map": {}}', '{"weight_map": "a"}'])
def test_an_index_without_a_map_is_an_error(tmp_path, content):
    (tmp_path / NAMES.index).write_text(content)
    with pytest.raises(CheckpointError, match="weight_map"):
        open_weights(tmp_path, NAMES)


@pytest.mark.parametrize("pickle", ["pytorch_model.bin", "model.ckpt", "model.pt", "model.pth"])
def test_pickles_are_refused_with_the_way_out(tmp_path, pickle):
    (tmp_path / pickle).write_bytes(b"\x80\x04.")
    with pytest.raises(CheckpointError, match=f"{pickle}.*safe_serialization=True"):
        open_weights(tmp_path, NAMES)


def test_other_variants_are_offered(tmp_path):
    (tmp_path / "model.fp16.safetensors").touch()
    with pytest.raises(CheckpointError, match="it holds.*model.fp16.safetensors.*variant"):
        open_weights(tmp_path, NAMES)


def test_an_empty_or_missing_folder_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="holds neither model.safetensors nor"):
        open_weights(tmp_path, NAMES)
    with pytest.raises(CheckpointError, match="vae is not a folder"):
        open_weights(tmp_path / "vae", NAMES)

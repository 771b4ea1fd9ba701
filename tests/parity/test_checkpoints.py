"""Folders that PyTorch wrote load here, folders written here load in PyTorch, bit for bit."""

import diffusers
import numpy as np
import pytest
import torch
import transformers
from flax import nnx
from safetensors.torch import load_file, save_file

from img2img_jax import models
from img2img_jax.checkpoints import CheckpointError, load_component, save_component

CLASSES = {
    "vae": "AutoencoderKL",
    "vae_tiny": "AutoencoderTiny",
    "unet_sd1": "UNet2DConditionModel",
    "unet_sd2": "UNet2DConditionModel",
    "unet_lcm": "UNet2DConditionModel",
    "text_gelu": "CLIPTextModel",
    "clip": "CLIPModel",
}


def torch_load(name, folder, **kwargs):
    """Loads with PyTorch; nothing may be missing, left over or misshapen."""
    library = diffusers if hasattr(diffusers, name) else transformers
    model, info = getattr(library, name).from_pretrained(folder, output_loading_info=True, **kwargs)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    return model


def assert_same_weights(model, other):
    expected, found = model.state_dict(), other.state_dict()
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        assert torch.equal(value, found[key]), key


def assert_same_parameters(model, other):
    ours = dict(nnx.to_flat_state(nnx.state(model)))
    theirs = dict(nnx.to_flat_state(nnx.state(other)))
    assert ours.keys() == theirs.keys()
    for path, value in ours.items():
        np.testing.assert_array_equal(value[...], theirs[path][...], err_msg=str(path))


@pytest.mark.parametrize("name", CLASSES)
def test_there_and_back(checkpoint, name, tmp_path):
    made, class_name = checkpoint(name), CLASSES[name]
    model_class = getattr(models, class_name)
    model = load_component(model_class, made.folder)
    save_component(model, tmp_path / "ours")
    back = torch_load(class_name, tmp_path / "ours")
    assert_same_weights(made.torch_model, back)
    back.save_pretrained(tmp_path / "theirs")
    assert load_component(model_class, tmp_path / "theirs").config == model.config


@pytest.mark.parametrize("name", ["unet_sd1", "text_gelu"])
def test_shards_of_ours_load_in_pytorch(checkpoint, name, tmp_path):
    made, class_name = checkpoint(name), CLASSES[name]
    save_component(load_component(getattr(models, class_name), made.folder), tmp_path, max_shard_size=30_000)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert_same_weights(made.torch_model, torch_load(class_name, tmp_path))


@pytest.mark.parametrize("name", ["unet_sd1", "text_gelu"])
def test_shards_and_variants_of_pytorch_load_here(checkpoint, name, tmp_path):
    made, model_class = checkpoint(name), getattr(models, CLASSES[name])
    plain = load_component(model_class, made.folder)
    made.torch_model.save_pretrained(tmp_path, max_shard_size="30KB", variant="fp16")
    assert len(list(tmp_path.glob("*.fp16-*.safetensors"))) > 1
    assert_same_parameters(plain, load_component(model_class, tmp_path, variant="fp16"))


@pytest.mark.parametrize("name", ["unet_sd1", "text_gelu"])
@pytest.mark.parametrize("max_shard_size", [None, 30_000])
def test_variants_of_ours_load_in_pytorch(checkpoint, name, max_shard_size, tmp_path):
    made, class_name = checkpoint(name), CLASSES[name]
    model = load_component(getattr(models, class_name), made.folder)
    save_component(model, tmp_path, variant="fp16", max_shard_size=max_shard_size)
    assert_same_weights(made.torch_model, torch_load(class_name, tmp_path, variant="fp16"))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_in_both_directions(checkpoint, dtype, tmp_path):
    made, torch_dtype = checkpoint("vae"), getattr(torch, dtype)
    ours = load_component(models.AutoencoderKL, made.folder)
    save_component(ours, tmp_path / "ours", dtype=dtype)
    half = torch_load("AutoencoderKL", tmp_path / "ours", torch_dtype=torch_dtype)
    rounded = diffusers.AutoencoderKL.from_pretrained(made.folder).to(torch_dtype)
    assert_same_weights(rounded, half)
    rounded.save_pretrained(tmp_path / "theirs")
    assert_same_parameters(
        load_component(models.AutoencoderKL, tmp_path / "ours"),
        load_component(models.AutoencoderKL, tmp_path / "theirs"),
    )


def test_old_attention_names_of_the_vae(checkpoint, tmp_path):
    made, names = checkpoint("vae"), {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    made.torch_model.save_pretrained(tmp_path)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    for key in [key for key in tensors if ".attentions." in key]:
        old = key
        for new, name in names.items():
            old = old.replace(f".{new}.", f".{name}.")
        tensors[old] = tensors.pop(key)
    assert "decoder.mid_block.attentions.0.proj_attn.weight" in tensors
    save_file(tensors, file, metadata={"format": "pt"})
    assert_same_weights(made.torch_model, diffusers.AutoencoderKL.from_pretrained(tmp_path))
    assert_same_parameters(
        load_component(models.AutoencoderKL, made.folder), load_component(models.AutoencoderKL, tmp_path)
    )


def test_text_encoders_of_older_releases(checkpoint, tmp_path):
    """Keys with a prefix, the buffer of row numbers and a configuration full of bookkeeping."""
    made = checkpoint("text_quick_gelu")
    made.torch_model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = {f"text_model.{key.removeprefix('text_model.')}": value for key, value in load_file(file).items()}
    tensors["text_model.embeddings.position_ids"] = torch.arange(9)[None]
    save_file(tensors, file, metadata={"format": "pt"})
    assert_same_parameters(
        load_component(models.CLIPTextModel, made.folder), load_component(models.CLIPTextModel, tmp_path)
    )


def test_pickles_of_pytorch_are_refused(checkpoint, tmp_path):
    made = checkpoint("unet_sd1")
    made.torch_model.save_pretrained(tmp_path, safe_serialization=False)
    with pytest.raises(CheckpointError, match="diffusion_pytorch_model.bin.*safe_serialization=True"):
        load_component(models.UNet2DConditionModel, tmp_path)

import numpy as np
import pytest
from safetensors.numpy import save_file

from img2img_jax.checkpoints import CheckpointError, open_vae, save_component
from img2img_jax.checkpoints.families import FAMILIES
from img2img_jax.models import AutoencoderTiny, AutoencoderTinyConfig
from img2img_jax.testing.tiny import random_model

REPLACED = FAMILIES["sdxl"].components["vae"]


@pytest.fixture
def write(tmp_path):
    def write(*keys):
        save_file({key: np.zeros((2, 2, 1, 1), np.float32) for key in keys}, tmp_path / "vae.safetensors")
        return tmp_path / "vae.safetensors"

    return write


@pytest.mark.parametrize("prefix", ["", "first_stage_model."])
@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["encoder.down.0.block.0.conv1.weight"], ["encoder.down_blocks.0.resnets.0.conv1.weight"]),
        (["encoder.down_blocks.0.resnets.0.conv1.weight"], ["encoder.down_blocks.0.resnets.0.conv1.weight"]),
    ],
    ids=["original", "diffusers"],
)
def test_files_take_the_configuration_of_the_vae_they_replace(write, prefix, keys, expected):
    found = open_vae(write(*(prefix + key for key in keys)), REPLACED)
    assert list(found.tensors) == expected and found.config == REPLACED


def test_in_place_of_a_tiny_autoencoder_the_usual_configuration_is_taken(write):
    path = write("encoder.down_blocks.0.resnets.0.conv1.weight")
    assert open_vae(path, {"_class_name": "AutoencoderTiny"}).config == FAMILIES["sd1"].components["vae"]


def test_tiny_autoencoders_are_recognised(write):
    assert open_vae(write("encoder.layers.0.weight"), REPLACED).config == {"_class_name": "AutoencoderTiny"}


def test_folders_have_their_own_configuration(tmp_path):
    config = AutoencoderTinyConfig(
        encoder_block_out_channels=(4,),
        decoder_block_out_channels=(4,),
        num_encoder_blocks=(1,),
        num_decoder_blocks=(1,),
    )
    save_component(random_model(AutoencoderTiny, config, np.random.default_rng(0)), tmp_path / "vae")
    for folder in (tmp_path, tmp_path / "vae"):
        found = open_vae(folder, REPLACED)
        assert found.origin == tmp_path / "vae" and AutoencoderTinyConfig.from_dict(found.config) == config


def test_nothing_there_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="config.json is missing"):
        open_vae(tmp_path, REPLACED)

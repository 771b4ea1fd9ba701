"""Configurations are read strictly: what is not understood is an error that names it."""

import pytest

from img2img_jax.models import AutoencoderKLConfig, AutoencoderTinyConfig, CLIPConfig, UNet2DConditionConfig


def test_lists_become_tuples_and_bookkeeping_is_dropped():
    config = UNet2DConditionConfig.from_dict({"_class_name": "x", "block_out_channels": [1, 2, 3, 4], "dropout": 0.1})
    assert config.block_out_channels == (1, 2, 3, 4)
    assert hash(config)


@pytest.mark.parametrize(
    ("config_class", "values", "named"),
    [
        (UNet2DConditionConfig, {"class_embed_type": "timestep"}, "class_embed_type='timestep'"),
        (UNet2DConditionConfig, {"act_fn": "gelu"}, "act_fn='gelu'"),
        (UNet2DConditionConfig, {"down_block_types": ["DownBlock2D"]}, "down_block_types has 1 entries"),
        (UNet2DConditionConfig, {"down_block_types": ["AttnDownBlock2D"] * 4}, "AttnDownBlock2D"),
        (AutoencoderKLConfig, {"latents_mean": [0.0]}, "latents_mean"),
        (AutoencoderKLConfig, {"up_block_types": ["Odd"]}, "up_block_types"),
        (AutoencoderTinyConfig, {"num_encoder_blocks": [1]}, "num_encoder_blocks has 1"),
        (CLIPConfig, {"text_config": {"something_new": 3}}, "something_new=3"),
    ],
)
def test_what_is_not_supported_is_named(config_class, values, named):
    with pytest.raises(ValueError, match=named.replace("[", r"\[")):
        config_class.from_dict(values)


def test_unknown_keys_may_be_switched_off():
    UNet2DConditionConfig.from_dict({"some_future_feature": None, "another": False})


def test_one_value_serves_all_blocks_and_lists_must_fit():
    assert UNet2DConditionConfig(attention_head_dim=8).heads == (8, 8, 8, 8)
    assert UNet2DConditionConfig(attention_head_dim=(5, 10, 20, 20)).heads == (5, 10, 20, 20)
    with pytest.raises(ValueError, match="attention_head_dim"):
        _ = UNet2DConditionConfig(attention_head_dim=(5, 10)).heads

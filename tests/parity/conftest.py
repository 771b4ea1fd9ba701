"""Tiny random checkpoints, made on the spot by diffusers and transformers."""

import dataclasses
from pathlib import Path

import diffusers
import pytest
import torch
import transformers

_UNET = dict(sample_size=8, norm_num_groups=8, cross_attention_dim=24)
_TWO_LEVELS = dict(
    block_out_channels=(16, 32),
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    layers_per_block=1,
    **_UNET,
)
_THREE_LEVELS = dict(
    block_out_channels=(8, 16, 24),
    down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    **_UNET,
)
_TOWER = dict(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3, projection_dim=20)
_TEXT = dict(vocab_size=50, max_position_embeddings=9, bos_token_id=48, eos_token_id=49, pad_token_id=1, **_TOWER)


def _text(**changes):
    return transformers.CLIPTextConfig(**(_TEXT | changes))


@pytest.fixture(scope="session")
def text_config():
    """Makes the configuration of a tiny text encoder."""
    return _text


def _clip():
    vision = transformers.CLIPVisionConfig(image_size=16, patch_size=4, **(_TOWER | dict(hidden_size=36)))
    return transformers.CLIPConfig(text_config=_text().to_dict(), vision_config=vision.to_dict(), projection_dim=20)


_BUILDERS = {
    "vae": lambda: diffusers.AutoencoderKL(
        block_out_channels=(8, 16, 24),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
        latent_channels=4,
    ),
    "vae_bare": lambda: diffusers.AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        latent_channels=6,
        scaling_factor=0.36,
        shift_factor=0.12,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
    ),
    "vae_tiny": lambda: diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        num_encoder_blocks=(1, 2, 1),
        num_decoder_blocks=(2, 1, 1),
        latent_channels=4,
    ),
    "unet_sd1": lambda: diffusers.UNet2DConditionModel(attention_head_dim=8, **_TWO_LEVELS),
    "unet_sd2": lambda: diffusers.UNet2DConditionModel(
        attention_head_dim=[1, 2, 4],
        use_linear_projection=True,
        layers_per_block=[1, 2, 1],
        transformer_layers_per_block=[1, 2, 1],
        **_THREE_LEVELS,
    ),
    "unet_lcm": lambda: diffusers.UNet2DConditionModel(
        attention_head_dim=4,
        time_cond_proj_dim=12,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-3,
        **_TWO_LEVELS,
    ),
    "unet_sdxl": lambda: diffusers.UNet2DConditionModel(
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=[1, 2],
        transformer_layers_per_block=[1, 2],
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=20 + 6 * 8,
        **_UNET | dict(cross_attention_dim=40),
    ),
    "unet_sdxl_refiner": lambda: diffusers.UNet2DConditionModel(
        attention_head_dim=4,
        transformer_layers_per_block=2,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=20 + 5 * 8,
        **_TWO_LEVELS | dict(cross_attention_dim=16),
    ),
    "vae_sdxl": lambda: diffusers.AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        scaling_factor=0.13025,
        force_upcast=True,
    ),
    "text_quick_gelu": lambda: transformers.CLIPTextModel(_text(hidden_act="quick_gelu")),
    "text_gelu": lambda: transformers.CLIPTextModel(_text(hidden_act="gelu")),
    "text_old_eos": lambda: transformers.CLIPTextModel(_text(eos_token_id=2)),
    "text_projected": lambda: transformers.CLIPTextModelWithProjection(_text(hidden_act="gelu", eos_token_id=2)),
    "clip": lambda: transformers.CLIPModel(_clip()),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A PyTorch model and the folder it was saved to."""

    torch_model: torch.nn.Module
    folder: Path


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """Builds a checkpoint by name, once a session; every parameter differs from its usual initial value."""
    made = {}

    def build(name):
        if name not in made:
            torch.manual_seed(list(_BUILDERS).index(name))
            model = _BUILDERS[name]().eval()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.1 * torch.randn_like(parameter))
            folder = tmp_path_factory.mktemp(name)
            model.save_pretrained(folder)
            made[name] = Checkpoint(torch_model=model, folder=folder)
        return made[name]

    return build

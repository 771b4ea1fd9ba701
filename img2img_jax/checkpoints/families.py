"""The Stable Diffusion families, for checkpoints that come without configurations.

The values are those of the ``config.json`` files published with each family (Rombach et al. 2112.10752; Podell et
al. 2307.01952).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

_UNET = {"_class_name": "UNet2DConditionModel", "layers_per_block": 2}
_CROSS_DOWN, _CROSS_UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
_FOUR_LEVELS = {
    "down_block_types": [_CROSS_DOWN] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + [_CROSS_UP] * 3,
    "block_out_channels": [320, 640, 1280, 1280],
}
_TEXT_TIME = {"addition_embed_type": "text_time", "addition_time_embed_dim": 256, "use_linear_projection": True}
_VAE = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "scaling_factor": 0.18215,
}
_TEXT = {"vocab_size": 49408, "max_position_embeddings": 77, "layer_norm_eps": 1e-5, "eos_token_id": 2}
_CLIP_L = _TEXT | {
    "architectures": ["CLIPTextModel"],
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "quick_gelu",
    "projection_dim": 768,
}
# Stable Diffusion 2 reads the states before OpenCLIP's last layer, which is therefore left out.
_OPEN_CLIP_H = _TEXT | {
    "architectures": ["CLIPTextModel"],
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
    "hidden_act": "gelu",
    "projection_dim": 512,
}
_OPEN_CLIP_G = _TEXT | {
    "architectures": ["CLIPTextModelWithProjection"],
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "hidden_act": "gelu",
    "projection_dim": 1280,
}
_SCHEDULER = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "clip_sample": False,
    "prediction_type": "epsilon",
}
_PNDM = _SCHEDULER | {"_class_name": "PNDMScheduler", "skip_prk_steps": True}
_DDIM_V = _SCHEDULER | {"_class_name": "DDIMScheduler", "prediction_type": "v_prediction"}
_EULER = _SCHEDULER | {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading"}
_XL_VAE = _VAE | {"sample_size": 1024, "scaling_factor": 0.13025}

CLIP_TOKENIZER = "openai/clip-vit-large-patch14"
"""Hub id of the vocabulary that all families share."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """What a single file leaves unsaid.

    Attributes:
      components: ``config.json`` by component.
      scheduler: ``scheduler_config.json``.
      towers: where the single file keeps each text encoder: component -> prefix of its keys.
      flags: of ``model_index.json``.
      ambiguous_prediction: whether members of the family differ in what they predict, which no key tells.
    """

    components: Mapping[str, Mapping[str, Any]]
    scheduler: Mapping[str, Any]
    towers: Mapping[str, str]
    flags: Mapping[str, bool] = dataclasses.field(default_factory=dict)
    ambiguous_prediction: bool = False


FAMILIES: Mapping[str, Family] = {
    "sd1": Family(
        components={
            "unet": _UNET | _FOUR_LEVELS | {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
            "vae": _VAE | {"sample_size": 512},
            "text_encoder": _CLIP_L,
        },
        scheduler=_PNDM,
        towers={"text_encoder": "cond_stage_model.transformer."},
    ),
    "sd2": Family(
        components={
            "unet": _UNET
            | _FOUR_LEVELS
            | {
                "sample_size": 96,
                "cross_attention_dim": 1024,
                "attention_head_dim": [5, 10, 20, 20],
                "use_linear_projection": True,
            },
            "vae": _VAE | {"sample_size": 768},
            "text_encoder": _OPEN_CLIP_H,
        },
        scheduler=_DDIM_V,
        towers={"text_encoder": "cond_stage_model.model."},
        ambiguous_prediction=True,
    ),
    "sdxl": Family(
        components={
            "unet": _UNET
            | _TEXT_TIME
            | {
                "sample_size": 128,
                "down_block_types": ["DownBlock2D", _CROSS_DOWN, _CROSS_DOWN],
                "up_block_types": [_CROSS_UP, _CROSS_UP, "UpBlock2D"],
                "block_out_channels": [320, 640, 1280],
                "cross_attention_dim": 2048,
                "attention_head_dim": [5, 10, 20],
                "transformer_layers_per_block": [1, 2, 10],
                "projection_class_embeddings_input_dim": 2816,
            },
            "vae": _XL_VAE,
            "text_encoder": _CLIP_L,
            "text_encoder_2": _OPEN_CLIP_G,
        },
        scheduler=_EULER,
        towers={
            "text_encoder": "conditioner.embedders.0.transformer.",
            "text_encoder_2": "conditioner.embedders.1.model.",
        },
        flags={"force_zeros_for_empty_prompt": True, "requires_aesthetics_score": False},
    ),
    "sdxl-refiner": Family(
        components={
            "unet": _UNET
            | _TEXT_TIME
            | {
                "sample_size": 128,
                "down_block_types": ["DownBlock2D", _CROSS_DOWN, _CROSS_DOWN, "DownBlock2D"],
                "up_block_types": ["UpBlock2D", _CROSS_UP, _CROSS_UP, "UpBlock2D"],
                "block_out_channels": [384, 768, 1536, 1536],
                "cross_attention_dim": 1280,
                "attention_head_dim": [6, 12, 24, 24],
                "transformer_layers_per_block": 4,
                "projection_class_embeddings_input_dim": 2560,
            },
            "vae": _XL_VAE,
            "text_encoder_2": _OPEN_CLIP_G,
        },
        scheduler=_EULER,
        towers={"text_encoder_2": "conditioner.embedders.0.model."},
        flags={"force_zeros_for_empty_prompt": False, "requires_aesthetics_score": True},
    ),
}

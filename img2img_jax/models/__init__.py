"""The networks, as Flax NNX modules in NHWC layout.

Every class is named as its checkpoints name it, is driven by that checkpoint's own ``config.json`` and lays its
parameters out under the same attribute paths as the PyTorch original, so that a key table is a rule, not a list.
"""

from img2img_jax.models.autoencoder_kl import AutoencoderKL, AutoencoderKLConfig
from img2img_jax.models.autoencoder_tiny import AutoencoderTiny, AutoencoderTinyConfig
from img2img_jax.models.clip import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModel,
)
from img2img_jax.models.unet_2d_condition import UNet2DConditionConfig, UNet2DConditionModel

__all__ = [
    "AutoencoderKL",
    "AutoencoderKLConfig",
    "AutoencoderTiny",
    "AutoencoderTinyConfig",
    "CLIPConfig",
    "CLIPModel",
    "CLIPTextConfig",
    "CLIPTextModel",
    "CLIPTextModelWithProjection",
    "CLIPVisionConfig",
    "CLIPVisionModel",
    "UNet2DConditionConfig",
    "UNet2DConditionModel",
]

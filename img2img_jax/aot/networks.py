"""The networks of a checkpoint as shapes: structure and dtype of every weight, and no value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import jax.numpy as jnp
from flax import nnx

from img2img_jax.checkpoints.checkpoint import open_checkpoint
from img2img_jax.checkpoints.component import abstract
from img2img_jax.checkpoints.families import FAMILIES
from img2img_jax.diffusion.scheduler import Scheduler
from img2img_jax.models import (
    AutoencoderKL,
    AutoencoderTiny,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    UNet2DConditionModel,
)
from img2img_jax.models.attention import Attention
from img2img_jax.types import DType

MODELS: Mapping[str, str] = {"sd15": "sd1", "sd21": "sd2", "sdxl": "sdxl", "sdxl-refiner": "sdxl-refiner"}
"""Models that need no file, and the family whose configurations they have; "emoji" is the embedded model."""

_CLASSES = {
    "unet": (UNet2DConditionModel,),
    "vae": (AutoencoderKL, AutoencoderTiny),
    "text_encoder": (CLIPTextModel,),
    "text_encoder_2": (CLIPTextModelWithProjection,),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Networks:
    """UNet, VAE and text encoders without weights.

    Attributes:
      unet, vae: the networks, abstract.
      texts: "text_encoder" and "text_encoder_2", as many as there are.
      scheduler_config: ``scheduler_config.json``.
    """

    unet: nnx.Module
    vae: nnx.Module
    texts: Mapping[str, nnx.Module]
    scheduler_config: Mapping[str, Any]

    @classmethod
    def of(cls, model: str, *, dtype: DType = jnp.bfloat16, flash: bool = True) -> Self:
        """The networks of a model.

        Args:
          model: a key of ``MODELS``, "emoji", or a checkpoint's folder, file or hub id, of which the weights are not
            read.
          dtype: of weights and computation.
          flash: whether long attention goes through the TPU's flash kernel.

        Raises:
          CheckpointError: no such checkpoint.
        """
        if model in MODELS:
            family = FAMILIES[MODELS[model]]
            configs, scheduler = family.components, family.scheduler
        else:
            checkpoint = open_checkpoint(model)
            configs = {name: component.config for name, component in checkpoint.components.items()}
            scheduler = checkpoint.scheduler_config
        networks = {name: _network(name, config, Path(model), dtype, flash) for name, config in configs.items()}
        return cls(unet=networks.pop("unet"), vae=networks.pop("vae"), texts=networks, scheduler_config=dict(scheduler))

    def scheduler(self, name: str) -> Scheduler:
        """A sampler over the model's noise schedule, as a call takes it."""
        return Scheduler.from_config(self.scheduler_config, name, verbatim=self.unet.config.takes_sizes)


def _network(name: str, config: Mapping[str, Any], origin: Path, dtype: DType, flash: bool) -> nnx.Module:
    classes = {model_class.__name__: model_class for model_class in _CLASSES[name]}
    model_class = classes.get(config.get("_class_name"), _CLASSES[name][0])
    network = abstract(model_class, config, origin, jnp.dtype(dtype))
    for _, module in nnx.iter_modules(network):
        if isinstance(module, Attention):
            module.flash = flash
    return network

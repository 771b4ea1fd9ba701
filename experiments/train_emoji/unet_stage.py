"""Stage 3: the UNet, on cached latents of the finished VAE, under the finished text encoder."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx
from latent_cache import LatentCache
from ml_collections import ConfigDict
from preview import Preview
from unet_evaluation import UNetEvaluation

from img2img_jax.checkpoints import load_component, read_json
from img2img_jax.data.emoji import EmojiSet
from img2img_jax.data.tokenizer import ClipTokenizer
from img2img_jax.diffusion.schedule import NoiseSchedule
from img2img_jax.diffusion.scheduler import Scheduler
from img2img_jax.models import AutoencoderKL, CLIPTextModel, UNet2DConditionConfig, UNet2DConditionModel
from img2img_jax.training import FitConfig, OptimizerConfig, fit
from img2img_jax.training.diffusion_loss import loss_fn
from img2img_jax.training.initial import retime, zero_residuals


def initial_unet(config: ConfigDict, schedule: NoiseSchedule, init: Path | None) -> UNet2DConditionModel:
    """A fresh network, or the one in ``init/unet``, told of ``schedule`` if it was trained under another."""
    if init is not None:
        unet = load_component(UNet2DConditionModel, init / "unet", dtype=jnp.float32)
        before = NoiseSchedule.from_config(read_json(init / "scheduler" / "scheduler_config.json"))
        if not np.array_equal(before.alphas_cumprod, schedule.alphas_cumprod):
            retime(unet, before, schedule)
        return unet
    unet = UNet2DConditionModel(UNet2DConditionConfig.from_dict(config.model.to_dict()), rngs=nnx.Rngs(0))
    zero_residuals(unet, also=("conv_out",))
    return unet


def train(
    config: ConfigDict, emoji: EmojiSet, tokenizer: ClipTokenizer, workdir: Path, model: Path, init: Path | None = None
) -> None:
    """Trains; logs loss by timestep band, held-out losses and the caption gap; leaves preview grids."""
    vae = load_component(AutoencoderKL, model / "vae", dtype=jnp.float32)
    encoder = load_component(CLIPTextModel, model / "text_encoder", dtype=jnp.float32)
    scheduler = Scheduler.from_config(config.scheduler.to_dict())
    graphdef, params = nnx.split(initial_unet(config, scheduler.schedule, init))
    text_graphdef, text_params = nnx.split(encoder)
    cache = LatentCache(workdir.parent, emoji, vae, config.num_concepts, config.variants)
    preview = Preview(
        graphdef,
        vae,
        encoder,
        tokenizer,
        scheduler,
        config.prompts,
        latent_shape=cache.latents.shape[2:],
        steps=20,
        guidance_scale=4.0,
    )
    fit(
        loss_fn(graphdef, text_graphdef, scheduler.schedule, scheduler.prediction_type, skew=config.timestep_skew),
        params,
        cache.batches(
            tokenizer, config.batch_size, config.caption_dropout, config.unchanged_share, config.restyled_share
        ),
        config=FitConfig(**config.fit),
        optimizer=OptimizerConfig(**config.optimizer),
        workdir=workdir,
        frozen=text_params,
        evaluate=UNetEvaluation(graphdef, cache, vae, encoder, tokenizer, scheduler, preview, workdir),
    )

"""Stage 2: the VAE; or, of a VAE that is finished, the decoder alone."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from batches import held_out, pictures_at
from flax import nnx
from ml_collections import ConfigDict
from sheet import save_sheet, to_uint8

from img2img_jax.checkpoints import load_component
from img2img_jax.data.emoji import EmojiSet
from img2img_jax.models import AutoencoderKL, AutoencoderKLConfig
from img2img_jax.training import FitConfig, OptimizerConfig, fit
from img2img_jax.training.initial import zero_residuals
from img2img_jax.training.pixels import to_model
from img2img_jax.training.vae_loss import VAELossConfig, loss_fn, psnr


def of_decoder(path: tuple, _: object) -> bool:
    """The parameters that are trained when the latents, on which a UNet has been trained, must stay as they are."""
    return path[0] in ("decoder", "post_quant_conv")


def initial_vae(config: ConfigDict, init: Path | None) -> AutoencoderKL:
    """A fresh network, or the one in ``init/vae``."""
    if init is not None:
        return load_component(AutoencoderKL, init / "vae", dtype=jnp.float32)
    model = AutoencoderKL(AutoencoderKLConfig.from_dict(config.model.to_dict()), rngs=nnx.Rngs(0))
    zero_residuals(model)
    return model


def train(config: ConfigDict, emoji: EmojiSet, tokenizer: object, workdir: Path, init: Path | None = None) -> None:
    """Trains, logs the PSNR of held-out pictures and leaves a sheet of originals above reconstructions.

    With ``init``, what is ``of_decoder`` in ``init/vae`` is trained on, and the rest stays as it is.
    """
    del tokenizer
    trained = nnx.Param if init is None else of_decoder
    graphdef, params, frozen = nnx.split(initial_vae(config, init), trained, ...)
    draw = pictures_at(emoji, batch_size=config.batch_size, num_concepts=config.num_concepts)
    index = held_out(emoji, "unseen_concept", 64)

    @jax.jit
    def reconstruct(params, frozen, images):
        vae = nnx.merge(graphdef, params, frozen)
        images = to_model(images)
        decoded = vae.decode(vae.encode(images)[0])
        return decoded, psnr(decoded, images)

    def evaluate(params, step: int) -> dict[str, float]:
        images = np.asarray(emoji.images[index])
        decoded, values = zip(*(reconstruct(params, frozen, chunk) for chunk in np.array_split(images, 8)), strict=True)
        pictures = to_uint8(jnp.concatenate(decoded))
        rows = [x[i : i + 10] for i in range(0, min(len(images), 60) - 9, 20) for x in (images, pictures)]
        save_sheet(workdir / f"reconstructions_{step:06d}.png", rows)
        return {"psnr": float(jnp.concatenate(values).mean())}

    fit(
        loss_fn(graphdef, VAELossConfig(**config.loss)),
        params,
        lambda step: {"images": draw(step)[0]},
        config=FitConfig(**config.fit),
        optimizer=OptimizerConfig(**config.optimizer),
        workdir=workdir,
        frozen=frozen,
        evaluate=evaluate,
    )

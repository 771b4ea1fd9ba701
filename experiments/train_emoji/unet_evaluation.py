"""What the UNet stage looks at while it trains."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from batches import spread
from flax import nnx
from latent_cache import LatentCache
from preview import Preview
from sheet import save_sheet

from img2img_jax import programs
from img2img_jax.data.captions import canonical
from img2img_jax.data.emoji import STYLES
from img2img_jax.data.tokenizer import ClipTokenizer
from img2img_jax.diffusion.scheduler import Scheduler
from img2img_jax.models import AutoencoderKL, CLIPTextModel
from img2img_jax.training.diffusion_loss import NoiseTable, caption_gap, denoising_errors
from img2img_jax.training.latents import encode_pictures

SHOWN = 32


class UNetEvaluation:
    """The caption gap, the loss on held-out pictures, and a grid drawn from the prompts of the configuration.

    Measured on ``SHOWN`` pictures each of the training set, of held-out styles of the concepts in it, and of held-out
    concepts. Of fewer, each counts several times, with noise of its own; where there are none, nothing is said.
    """

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        cache: LatentCache,
        vae: AutoencoderKL,
        encoder: CLIPTextModel,
        tokenizer: ClipTokenizer,
        scheduler: Scheduler,
        preview: Preview,
        workdir: Path,
    ):
        self.graphdef, self.preview, self.workdir = graphdef, preview, workdir
        self.table, self.prediction_type = NoiseTable.of(scheduler.schedule), scheduler.prediction_type
        text, emoji, self.sets = nnx.split(encoder), cache.emoji, {}
        shown = {emoji.records[i].concept for i in cache.index}
        for split in ("train", "unseen_style", "unseen_concept"):
            index = cache.index if split == "train" else emoji.select(split=split)
            if split == "unseen_style":
                index = [i for i in index if emoji.records[i].concept in shown]
            index = [i for i in index if emoji.records[i].style in STYLES]
            if not index:
                continue
            index = spread(index, SHOWN) if len(index) >= SHOWN else np.resize(index, SHOWN)
            ids = np.asarray(tokenizer([canonical(emoji.records[i]) for i in index]))
            self.sets[split] = encode_pictures(vae, emoji.images[index]), programs.read_prompts(*text, ids)[0]
        self.measure = jax.jit(self._measure)

    def _measure(self, params, latents, text) -> dict[str, jax.Array]:
        unet, noise = nnx.merge(self.graphdef, params), jax.random.normal(jax.random.key(0), latents.shape)
        timesteps = jnp.linspace(20, len(self.table.alpha) - 20, len(latents)).astype(jnp.int32)
        measured = {}
        errors = denoising_errors(unet, self.table, latents, text, timesteps, noise, self.prediction_type)
        for t in (900, 500):
            measured[f"gap{t}"] = caption_gap(unet, self.table, latents, text, noise, t, self.prediction_type)
        return {"loss": errors.mean(), **measured}

    def __call__(self, params: nnx.State, step: int) -> dict[str, float]:
        save_sheet(self.workdir / f"preview_{step:06d}.png", np.array_split(self.preview(params), 2))
        measured = {name: self.measure(params, *held) for name, held in self.sets.items()}
        return {f"{name}/{key}": float(v) for name, values in measured.items() for key, v in values.items()}

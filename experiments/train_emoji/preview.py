"""Pictures that a UNet in training draws from the prompts of its configuration."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import nnx
from sheet import to_uint8

from img2img_jax import programs, rng
from img2img_jax.data.tokenizer import ClipTokenizer
from img2img_jax.diffusion.scheduler import Scheduler
from img2img_jax.models import AutoencoderKL, CLIPTextModel
from img2img_jax.models.layers import guidance_embedding
from img2img_jax.parallel import make_mesh


class Preview:
    """Text-to-image of a list of prompts, one seed each: ``preview(params)`` gives uint8 [n, H, W, 3].

    A network with a guidance embedding of ``cond_dim`` is told the scale; another is guided by it.
    """

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        vae: AutoencoderKL,
        encoder: CLIPTextModel,
        tokenizer: ClipTokenizer,
        scheduler: Scheduler,
        prompts: Sequence[str],
        *,
        latent_shape: tuple[int, int, int],
        steps: int,
        guidance_scale: float,
        cond_dim: int | None = None,
    ):
        self.graphdef, self.vae, count = graphdef, nnx.split(vae), len(prompts)
        texts = list(prompts) if cond_dim else [text for prompt in prompts for text in ("", prompt)]
        states = programs.read_prompts(*nnx.split(encoder), np.asarray(tokenizer(texts)))[0]
        self.text = states.reshape(count, -1, *states.shape[1:])
        self.table, _ = scheduler.table([1.0] * count, steps)
        self.blank, self.scales = jnp.zeros((count, *latent_shape)), jnp.full(count, guidance_scale)
        self.condition = guidance_embedding(self.scales, cond_dim) if cond_dim else None

    def __call__(self, params: nnx.State) -> np.ndarray:
        latents = programs.denoise(
            self.graphdef,
            make_mesh(),
            params,
            self.table,
            self.blank,
            self.text,
            self.scales,
            jnp.float32(0),
            self.condition,
            None,
            rng.sample_keys(list(range(len(self.text)))),
            None,
            None,
        )
        return to_uint8(programs.decode(*self.vae, latents))

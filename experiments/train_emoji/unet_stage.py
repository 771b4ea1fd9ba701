"""Stage 3: the UNet, on cached latents of the finished VAE, under the finished text encoder."""

from __future__ import annotations

import hashlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict
from PIL import Image
from tqdm import tqdm

from img2img_jax import rng
from img2img_jax.checkpoints import load_component
from img2img_jax.data.augment import Augmentation
from img2img_jax.data.captions import canonical, caption
from img2img_jax.data.emoji import EmojiSet
from img2img_jax.data.tokenizer import ClipTokenizer
from img2img_jax.diffusion.guidance import guide
from img2img_jax.diffusion.sample import sample, start
from img2img_jax.diffusion.scheduler import Scheduler
from img2img_jax.models import AutoencoderKL, CLIPTextModel, UNet2DConditionConfig, UNet2DConditionModel
from img2img_jax.training import FitConfig, OptimizerConfig, fit
from img2img_jax.training.diffusion_loss import NoiseTable, caption_gap, loss_fn
from img2img_jax.training.initial import zero_residuals
from img2img_jax.training.pixels import to_model


def weights_digest(module: nnx.Module) -> str:
    """A short name for a network's weights."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(nnx.state(module)):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()[:12]


class LatentCache:
    """Latents of every training picture in several augmented variants, encoded once and kept in the work directory.

    Attributes:
      latents: float16 [variants, pictures, h, w, c]; colours: the recolouring of each, or None; index: into the set.
    """

    def __init__(self, folder: Path, emoji: EmojiSet, vae: AutoencoderKL, num_concepts: int, variants: int):
        self.emoji, self.index = emoji, emoji.select(split="train", num_concepts=num_concepts or None)
        # Named after what it was made from: another VAE, set or choice makes another cache.
        made_from = f"{weights_digest(vae)}_{len(self.index)}_{variants}"
        path = folder / f"latents_{made_from}.npz"
        if not path.exists():
            latents, colours = self._encode(vae, variants)
            partial = path.with_name("partial_" + path.name)
            np.savez(partial, latents=latents, colours=colours)
            partial.replace(path)
        with np.load(path) as stored:
            self.latents, self.colours = stored["latents"], stored["colours"]

    def _encode(self, vae: AutoencoderKL, variants: int) -> tuple[np.ndarray, np.ndarray]:
        encode = nnx.jit(lambda vae, x: vae.scale(vae.encode(to_model(x))[0]))
        augment, latents, colours = Augmentation(), [], []
        jobs = [(v, i) for v in range(variants) for i in self.index]
        for first in tqdm(range(0, len(jobs), 16), desc="encoding"):
            drawn = []
            for variant, i in jobs[first : first + 16]:
                picture, record = np.asarray(self.emoji.images[i]), self.emoji.records[i]
                draw = np.random.default_rng((variant, int(i)))
                drawn.append((picture, None) if variant == 0 else augment(picture, record, draw))
            padded = np.zeros((16, *drawn[0][0].shape), np.uint8)
            padded[: len(drawn)] = [picture for picture, _ in drawn]
            latents.append(np.asarray(encode(vae, padded), np.float16)[: len(drawn)])
            colours += [colour or "" for _, colour in drawn]
        shape = (variants, len(self.index))
        stacked = np.concatenate(latents)
        return stacked.reshape(*shape, *stacked.shape[1:]), np.asarray(colours).reshape(shape)

    def batch(self, rng: np.random.Generator, size: int, dropout: float) -> tuple[np.ndarray, list[str]]:
        """Latents and captions of random pictures; a share ``dropout`` of the captions is empty."""
        variants = rng.integers(len(self.latents), size=size)
        pictures = rng.integers(len(self.index), size=size)
        captions = [
            caption(self.emoji.records[self.index[p]], rng, colour=str(self.colours[v, p]) or None)
            for v, p in zip(variants, pictures, strict=True)
        ]
        kept = rng.random(size) >= dropout
        return self.latents[variants, pictures], [c if k else "" for c, k in zip(captions, kept, strict=True)]


def train(config: ConfigDict, emoji: EmojiSet, tokenizer: ClipTokenizer, workdir: Path, model: Path) -> None:
    """Trains; logs loss by timestep band and the caption gap; leaves preview grids."""
    vae = load_component(AutoencoderKL, model / "vae", dtype=jnp.float32)
    encoder = load_component(CLIPTextModel, model / "text_encoder", dtype=jnp.float32)
    unet = UNet2DConditionModel(UNet2DConditionConfig.from_dict(config.model.to_dict()), rngs=nnx.Rngs(0))
    zero_residuals(unet, also=("conv_out",))
    graphdef, params = nnx.split(unet)
    text_graphdef, text_params = nnx.split(encoder)
    scheduler = Scheduler.from_config(config.scheduler.to_dict())
    cache = LatentCache(workdir, emoji, vae, config.num_concepts, config.variants)

    def batch_at(step: int) -> dict[str, np.ndarray]:
        draw = np.random.default_rng((1, step))
        latents, captions = cache.batch(draw, config.batch_size, config.caption_dropout)
        return {"latents": latents, "input_ids": np.asarray(tokenizer(captions))}

    fit(
        loss_fn(graphdef, text_graphdef, scheduler.schedule, scheduler.prediction_type),
        params,
        batch_at,
        config=FitConfig(**config.fit),
        optimizer=OptimizerConfig(**config.optimizer),
        workdir=workdir,
        frozen=text_params,
        evaluate=_Evaluation(config, cache, tokenizer, scheduler, vae, encoder, graphdef, workdir),
    )


class _Evaluation:
    """The caption gap at t=900 and a grid of pictures drawn from the prompts of the configuration."""

    def __init__(self, config, cache: LatentCache, tokenizer, scheduler: Scheduler, vae, encoder, graphdef, workdir):
        self.vae, self.workdir, self.graphdef = vae, workdir, graphdef
        states = nnx.jit(lambda encoder, ids: encoder(ids).last_hidden_state)
        shown = np.linspace(0, len(cache.index) - 1, 32).astype(int)
        captions = [canonical(cache.emoji.records[cache.index[i]]) for i in shown]
        self.text = states(encoder, np.asarray(tokenizer(captions)))
        self.latents = jnp.asarray(cache.latents[0, shown], jnp.float32)
        prompts = list(config.prompts)
        self.prompt_states = states(encoder, np.asarray(tokenizer([""] * len(prompts) + prompts)))
        self.table, _ = scheduler.table([1.0] * len(prompts), 20)
        self.gap = jax.jit(self._gap, static_argnums=1)
        self.draw = jax.jit(self._draw)
        self.noise_table, self.prediction_type = NoiseTable.of(scheduler.schedule), scheduler.prediction_type

    def _gap(self, params, timestep: int):
        noise = jax.random.normal(jax.random.key(0), self.latents.shape)
        unet = nnx.merge(self.graphdef, params)
        return caption_gap(unet, self.noise_table, self.latents, self.text, noise, timestep, self.prediction_type)

    def _draw(self, params):
        unet, count = nnx.merge(self.graphdef, params), len(self.prompt_states) // 2
        keys = rng.sample_keys(list(range(count)))
        noise = rng.normal(rng.stream(keys, "noise"), self.latents.shape[1:])

        def denoise(x, timestep):
            both = unet(jnp.tile(x, (2, 1, 1, 1)), jnp.tile(timestep, 2), self.prompt_states)
            return guide(*jnp.split(both, 2), jnp.full(count, 4.0))

        latents = sample(denoise, start(self.table, noise, noise), self.table, step_keys=rng.stream(keys, "step"))
        return self.vae.decode(self.vae.unscale(latents))

    def __call__(self, params, step: int) -> dict[str, float]:
        pictures = np.asarray(jnp.clip(self.draw(params) * 127.5 + 127.5, 0, 255)).astype(np.uint8)
        half = len(pictures) // 2
        rows = [np.concatenate(list(pictures[i : i + half]), 1) for i in (0, half)]
        Image.fromarray(np.concatenate(rows)).save(self.workdir / f"preview_{step:06d}.png")
        return {"gap900": float(self.gap(params, 900)), "gap500": float(self.gap(params, 500))}

"""A whole pipeline with random weights, small enough for tests: milliseconds a step."""

from __future__ import annotations

import math
import string
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from img2img_jax.models import (
    AutoencoderKL,
    AutoencoderKLConfig,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    UNet2DConditionConfig,
    UNet2DConditionModel,
)
from img2img_jax.partition import PARTITION, Partition
from img2img_jax.pipeline import Img2ImgPipeline

SCHEDULER_CONFIG = {
    "_class_name": "DDIMScheduler",
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def letter_tokenizer(length: int = 16) -> Any:
    """A CLIP tokenizer without merges: every letter is a token."""
    from transformers import CLIPTokenizer

    symbols = string.ascii_lowercase + string.digits + string.punctuation
    tokens = [*symbols, *(s + "</w>" for s in symbols), "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: i for i, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=length)


def random_model(model_class: type[nnx.Module], config: Any, rng: np.random.Generator) -> nnx.Module:
    """A model filled by NumPy: drawing each parameter with JAX would compile for a minute."""
    float32 = jnp.dtype("float32")  # as loading says it: a saved and loaded model shares this one's programs
    graphdef, state = nnx.split(
        nnx.eval_shape(lambda: model_class(config, dtype=float32, param_dtype=float32, rngs=nnx.Rngs(0)))
    )

    def filled(path: tuple, shape: tuple[int, ...]) -> np.ndarray:
        noise = rng.standard_normal(shape, np.float32)
        if path[-1] == "scale":
            return 1 + 0.1 * noise
        return 0.1 * noise if len(shape) == 1 else noise / math.sqrt(math.prod(shape[:-1]))

    parameters = [
        (path, leaf.replace(jnp.asarray(filled(path, leaf.shape)))) for path, leaf in nnx.to_flat_state(state)
    ]
    return nnx.merge(graphdef, nnx.from_flat_state(parameters))


def tiny_pipeline(
    *,
    seed: int = 0,
    mesh: jax.sharding.Mesh | None = None,
    partition: Partition = PARTITION,
    scheduler_config: dict | None = None,
    time_cond_proj_dim: int | None = None,
    shallow: bool = False,
) -> Img2ImgPipeline:
    """Random weights of Stable Diffusion's structure: 2 pixels per latent along a side, 4 latent channels.

    ``shallow``: a UNet of one level, which compiles in half the time.
    """
    rng, tokenizer = np.random.default_rng(seed), letter_tokenizer()
    unet = _unet(shallow, cross_attention_dim=32, time_cond_proj_dim=time_cond_proj_dim)
    return Img2ImgPipeline(
        vae=random_model(AutoencoderKL, _vae(), rng),
        unet=random_model(UNet2DConditionModel, unet, rng),
        text_encoder=random_model(CLIPTextModel, _text(tokenizer), rng),
        tokenizer=tokenizer,
        scheduler_config=scheduler_config or SCHEDULER_CONFIG,
        mesh=mesh,
        partition=partition,
    )


def tiny_sdxl_pipeline(
    *,
    seed: int = 0,
    refiner: bool = False,
    mesh: jax.sharding.Mesh | None = None,
    scheduler_config: dict | None = None,
    shallow: bool = False,
) -> Img2ImgPipeline:
    """The same of SDXL's structure, base or refiner: text states of width 32 + 16 or 16, pooled ones of width 12."""
    rng, tokenizer = np.random.default_rng(seed), letter_tokenizer()
    unet = _unet(
        shallow,
        cross_attention_dim=16 if refiner else 48,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=12 + (5 if refiner else 6) * 8,
    )
    first = _text(tokenizer, num_hidden_layers=2)
    second = _text(tokenizer, hidden_size=16, projection_dim=12, hidden_act="gelu", num_hidden_layers=2)
    return Img2ImgPipeline(
        vae=random_model(AutoencoderKL, _vae(), rng),
        unet=random_model(UNet2DConditionModel, unet, rng),
        text_encoder=None if refiner else random_model(CLIPTextModel, first, rng),
        tokenizer=None if refiner else tokenizer,
        text_encoder_2=random_model(CLIPTextModelWithProjection, second, rng),
        tokenizer_2=tokenizer,
        requires_aesthetics_score=refiner,
        force_zeros_for_empty_prompt=not refiner,
        scheduler_config=scheduler_config or SCHEDULER_CONFIG,
        mesh=mesh,
    )


def _text(tokenizer: Any, **changes: Any) -> CLIPTextConfig:
    defaults = dict(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        vocab_size=len(tokenizer),
        max_position_embeddings=16,
        eos_token_id=tokenizer.eos_token_id,
    )
    return CLIPTextConfig(**defaults | changes)


def _vae() -> AutoencoderKLConfig:
    return AutoencoderKLConfig(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        sample_size=16,
    )


def _unet(shallow: bool, **changes: Any) -> UNet2DConditionConfig:
    levels = 1 if shallow else 2
    return UNet2DConditionConfig(
        sample_size=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D")[:levels],
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D")[-levels:],
        block_out_channels=(16, 32)[:levels],
        layers_per_block=1,
        attention_head_dim=2,
        norm_num_groups=4,
        **changes,
    )


def random_images(count: int = 1, size: int = 16, seed: int = 0) -> jax.Array:
    """Uniform noise pictures in 0..1, float32 [count, size, size, 3]."""
    return jax.random.uniform(jax.random.key(seed), (count, size, size, 3), jnp.float32)

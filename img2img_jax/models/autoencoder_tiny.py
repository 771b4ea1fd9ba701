"""TAESD, the small autoencoder that speaks Stable Diffusion's latents (https://github.com/madebyollin/taesd)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from img2img_jax.models.config import ModelConfig
from img2img_jax.models.layers import Identity, activation, conv, upsample_nearest
from img2img_jax.types import DType, Image, Latents


@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoencoderTinyConfig(ModelConfig):
    """``vae/config.json`` of an AutoencoderTiny; names and defaults as in diffusers."""

    in_channels: int = 3
    out_channels: int = 3
    encoder_block_out_channels: tuple[int, ...] = (64, 64, 64, 64)
    decoder_block_out_channels: tuple[int, ...] = (64, 64, 64, 64)
    act_fn: str = "relu"
    latent_channels: int = 4
    upsampling_scaling_factor: int = 2
    num_encoder_blocks: tuple[int, ...] = (1, 3, 3, 3)
    num_decoder_blocks: tuple[int, ...] = (3, 3, 3, 1)
    scaling_factor: float = 1.0
    shift_factor: float = 0.0

    class_name: ClassVar[str] = "AutoencoderTiny"
    counts: ClassVar[frozenset[str]] = frozenset({"num_encoder_blocks", "num_decoder_blocks"})
    neutral: ClassVar[Mapping[str, tuple]] = {"upsample_fn": ("nearest",)}
    unused: ClassVar[frozenset[str]] = frozenset(
        {"force_upcast", "latent_magnitude", "latent_shift", "block_out_channels"}
    )

    def __post_init__(self):
        for side in ("encoder", "decoder"):
            channels, blocks = getattr(self, f"{side}_block_out_channels"), getattr(self, f"num_{side}_blocks")
            if len(channels) != len(blocks):
                raise ValueError(
                    f"{side}_block_out_channels has {len(channels)} entries, num_{side}_blocks has {len(blocks)}"
                )


class _Activation(nnx.Module):
    """A parameterless layer in the original's numbering."""

    def __init__(self, name: str):
        self.fn = activation(name)

    def __call__(self, x: Array) -> Array:
        return self.fn(x)


class _Upsample(nnx.Module):
    def __init__(self, factor: int):
        self.factor = factor

    def __call__(self, x: Array) -> Array:
        return upsample_nearest(x, (self.factor * x.shape[1], self.factor * x.shape[2]))


class _Block(nnx.Module):
    """Three convolutions and a residual; ReLU after the sum."""

    def __init__(self, channels: int, act_fn: str, **kw):
        layers: list[nnx.Module] = []
        for i in range(3):
            layers += [conv(channels, channels, **kw)] + ([_Activation(act_fn)] if i < 2 else [])
        self.conv = nnx.List(layers)
        self.skip, self.fuse = Identity(), _Activation("relu")

    def __call__(self, x: Array) -> Array:
        h = x
        for layer in self.conv:
            h = layer(h)
        return self.fuse(h + self.skip(x))


class _Stack(nnx.Module):
    """A numbered list of layers, applied in turn."""

    def __init__(self, layers: list[nnx.Module]):
        self.layers = nnx.List(layers)

    def __call__(self, x: Array) -> Array:
        for layer in self.layers:
            x = layer(x)
        return x


def _encoder(config: AutoencoderTinyConfig, kw: dict) -> _Stack:
    layers: list[nnx.Module] = []
    channels = config.encoder_block_out_channels
    for i, (c, blocks) in enumerate(zip(channels, config.num_encoder_blocks, strict=True)):
        first = conv(config.in_channels, c, **kw) if i == 0 else conv(c, c, stride=2, use_bias=False, **kw)
        layers += [first] + [_Block(c, config.act_fn, **kw) for _ in range(blocks)]
    return _Stack([*layers, conv(channels[-1], config.latent_channels, **kw)])


def _decoder(config: AutoencoderTinyConfig, kw: dict) -> _Stack:
    channels = config.decoder_block_out_channels
    layers: list[nnx.Module] = [conv(config.latent_channels, channels[0], **kw), _Activation(config.act_fn)]
    last = len(channels) - 1
    for i, (c, blocks) in enumerate(zip(channels, config.num_decoder_blocks, strict=True)):
        layers += [_Block(c, config.act_fn, **kw) for _ in range(blocks)]
        if i < last:
            layers += [_Upsample(config.upsampling_scaling_factor), conv(c, c, use_bias=False, **kw)]
        else:
            layers.append(conv(c, config.out_channels, **kw))
    return _Stack(layers)


class AutoencoderTiny(nnx.Module):
    """Deterministic drop-in for ``AutoencoderKL``: the same four methods, a posterior without variance."""

    config_class: ClassVar[type[ModelConfig]] = AutoencoderTinyConfig

    def __init__(
        self,
        config: AutoencoderTinyConfig,
        *,
        dtype: DType = jnp.float32,
        param_dtype: DType = jnp.float32,
        rngs: nnx.Rngs,
    ):
        kw = dict(dtype=dtype, param_dtype=param_dtype, rngs=rngs)
        self.config, self.dtype = config, jnp.dtype(dtype)
        self.encoder, self.decoder = _encoder(config, kw), _decoder(config, kw)

    @property
    def downscale_factor(self) -> int:
        """Pixels per latent, along each side."""
        return 2 ** (len(self.config.encoder_block_out_channels) - 1)

    def encode(self, images: Image) -> tuple[Latents, None]:
        """Latents of images in [-1, 1], float32; ``None`` stands for a posterior without variance."""
        # TAESD was trained on pictures in [0, 1].
        return self.encoder(((images + 1) / 2).astype(self.dtype)).astype(jnp.float32), None

    def decode(self, latents: Latents) -> Image:
        """Latents to an image, float32, about [-1, 1]; latents are squashed softly to (-3, 3) first."""
        z = jnp.tanh(latents / 3) * 3
        return self.decoder(z.astype(self.dtype)).astype(jnp.float32) * 2 - 1

    def scale(self, latents: Latents) -> Latents:
        """Raw latents to the diffusion model's space."""
        return (latents - self.config.shift_factor) * self.config.scaling_factor

    def unscale(self, latents: Latents) -> Latents:
        """The inverse of ``scale``."""
        return latents / self.config.scaling_factor + self.config.shift_factor

"""TAESD, the small autoencoder that speaks Stable Diffusion's latents (https://github.com/madebyollin/taesd)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from img2img_jax.models.config import ModelConfig
from img2img_jax.models.conv import conv
from img2img_jax.models.layers import Identity, activation, upsample_nearest
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
    """A numbered list of layers, applied in turn; the resolution of the latents begins or ends at ``seam``."""

    def __init__(self, layers: list[nnx.Module], seam: int):
        self.layers, self.seam = nnx.List(layers), seam

    def before_seam(self, x: Array) -> Array:
        for layer in self.layers[: self.seam]:
            x = layer(x)
        return x

    def after_seam(self, x: Array) -> Array:
        for layer in self.layers[self.seam :]:
            x = layer(x)
        return x


def _encoder(config: AutoencoderTinyConfig, kw: dict) -> _Stack:
    layers: list[nnx.Module] = []
    channels = config.encoder_block_out_channels
    for i, (c, blocks) in enumerate(zip(channels, config.num_encoder_blocks, strict=True)):
        first = conv(config.in_channels, c, **kw) if i == 0 else conv(c, c, stride=2, use_bias=False, **kw)
        layers += [first] + [_Block(c, config.act_fn, **kw) for _ in range(blocks)]
    seam = len(layers) - config.num_encoder_blocks[-1]
    return _Stack([*layers, conv(channels[-1], config.latent_channels, **kw)], seam)


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
    return _Stack(layers, seam=2 + config.num_decoder_blocks[0])


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

    @property
    def halo(self) -> int:
        """Latents that the layers above their resolution see to each side; see ``AutoencoderKL.halo``."""
        down, up = self.config.num_encoder_blocks, self.config.num_decoder_blocks
        decoder, encoder = 1, 0
        # A block has three convolutions; one more stands behind each upsampling, and one downsamples.
        for blocks in reversed(up[1:]):
            decoder = math.ceil((decoder + 3 * blocks + 1) / 2)
        for blocks in reversed(down[:-1]):
            encoder = 2 * encoder + 1 + 3 * blocks
        return max(decoder, math.ceil((encoder + 1) / self.downscale_factor))

    def encode(self, images: Image) -> tuple[Latents, None]:
        """Latents of images in [-1, 1], float32; ``None`` stands for a posterior without variance."""
        return self.encode_coarse(self.encode_fine(images))

    def encode_fine(self, images: Image) -> Float[Array, "b h w d"]:
        """The first part of ``encode``: the layers above the latents' resolution."""
        # TAESD was trained on pictures in [0, 1].
        return self.encoder.before_seam(((images + 1) / 2).astype(self.dtype))

    def encode_coarse(self, features: Float[Array, "b h w d"]) -> tuple[Latents, None]:
        """The second part of ``encode``."""
        return self.encoder.after_seam(features).astype(jnp.float32), None

    def decode(self, latents: Latents) -> Image:
        """Latents to an image, float32, about [-1, 1]; latents are squashed softly to (-3, 3) first."""
        return self.decode_fine(self.decode_coarse(latents))

    def decode_coarse(self, latents: Latents) -> Float[Array, "b h w d"]:
        """The first part of ``decode``: the layers at the latents' resolution."""
        z = jnp.tanh(latents / 3) * 3
        return self.decoder.before_seam(z.astype(self.dtype))

    def decode_fine(self, features: Float[Array, "b h w d"]) -> Image:
        """The second part of ``decode``."""
        return self.decoder.after_seam(features).astype(jnp.float32) * 2 - 1

    def scale(self, latents: Latents) -> Latents:
        """Raw latents to the diffusion model's space."""
        return (latents - self.config.shift_factor) * self.config.scaling_factor

    def unscale(self, latents: Latents) -> Latents:
        """The inverse of ``scale``."""
        return latents / self.config.scaling_factor + self.config.shift_factor

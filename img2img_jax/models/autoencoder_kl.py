"""The VAE of Stable Diffusion: pictures to latents and back (Rombach et al. 2112.10752, sec. 3.1)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from img2img_jax.models.attention import Attention
from img2img_jax.models.config import ModelConfig
from img2img_jax.models.conv import conv
from img2img_jax.models.layers import Downsample2D, GroupNorm, ResnetBlock2D, Upsample2D
from img2img_jax.types import DType, Image, Latents

_EPS = 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoencoderKLConfig(ModelConfig):
    """``vae/config.json``; names and defaults as in diffusers."""

    in_channels: int = 3
    out_channels: int = 3
    down_block_types: tuple[str, ...] = ("DownEncoderBlock2D",)
    up_block_types: tuple[str, ...] = ("UpDecoderBlock2D",)
    block_out_channels: tuple[int, ...] = (64,)
    layers_per_block: int = 1
    latent_channels: int = 4
    norm_num_groups: int = 32
    sample_size: int = 32
    scaling_factor: float = 0.18215
    shift_factor: float | None = None
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True

    class_name: ClassVar[str] = "AutoencoderKL"
    counts: ClassVar[frozenset[str]] = frozenset({"layers_per_block"})
    neutral: ClassVar[Mapping[str, tuple]] = {
        "act_fn": ("silu", "swish"),
        "latents_mean": (None,),
        "latents_std": (None,),
    }
    unused: ClassVar[frozenset[str]] = frozenset({"force_upcast"})

    def __post_init__(self):
        expected = {"down_block_types": "DownEncoderBlock2D", "up_block_types": "UpDecoderBlock2D"}
        for name, kind in expected.items():
            types = getattr(self, name)
            if types != (kind,) * len(self.block_out_channels):
                raise ValueError(
                    f"{name}={types} is not supported; supported: {kind!r}, one for each of "
                    f"{len(self.block_out_channels)} block_out_channels"
                )


class _MidBlock(nnx.Module):
    """Residual, single-head self-attention (if any), residual."""

    def __init__(self, channels: int, groups: int, add_attention: bool, **kw):
        res = dict(time_dim=None, groups=groups, eps=_EPS, **kw)
        self.resnets = nnx.List([ResnetBlock2D(channels, channels, **res) for _ in range(2)])
        self.attentions = nnx.List([_SpatialAttention(channels, groups, **kw)] if add_attention else [])

    def __call__(self, x: Latents) -> Latents:
        x = self.resnets[0](x)
        for attention in self.attentions:
            x = attention(x)
        return self.resnets[1](x)


class _SpatialAttention(Attention):
    """Self-attention over pixels with its own norm and residual."""

    def __init__(self, channels: int, groups: int, **kw):
        super().__init__(channels, 1, qkv_bias=True, **kw)
        self.group_norm = GroupNorm(groups, channels, _EPS, param_dtype=kw["param_dtype"])

    def __call__(self, x: Latents) -> Latents:
        b, h, w, c = x.shape
        return x + super().__call__(self.group_norm(x).reshape(b, h * w, c)).reshape(x.shape)


class _DownBlock(nnx.Module):
    def __init__(self, c_in: int, c_out: int, layers: int, groups: int, downsample: bool, **kw):
        res = dict(time_dim=None, groups=groups, eps=_EPS, **kw)
        self.resnets = nnx.List([ResnetBlock2D(c_in if i == 0 else c_out, c_out, **res) for i in range(layers)])
        self.downsamplers = nnx.List([Downsample2D(c_out, padding=0, **kw)] if downsample else [])

    def __call__(self, x: Array) -> Array:
        for layer in (*self.resnets, *self.downsamplers):
            x = layer(x)
        return x


class _UpBlock(nnx.Module):
    def __init__(self, c_in: int, c_out: int, layers: int, groups: int, upsample: bool, **kw):
        res = dict(time_dim=None, groups=groups, eps=_EPS, **kw)
        self.resnets = nnx.List([ResnetBlock2D(c_in if i == 0 else c_out, c_out, **res) for i in range(layers)])
        self.upsamplers = nnx.List([Upsample2D(c_out, **kw)] if upsample else [])

    def __call__(self, x: Array) -> Array:
        for layer in (*self.resnets, *self.upsamplers):
            x = layer(x)
        return x


class Encoder(nnx.Module):
    """Image to the moments of its latents, before ``quant_conv``."""

    def __init__(self, config: AutoencoderKLConfig, **kw):
        channels, groups = config.block_out_channels, config.norm_num_groups
        last = len(channels) - 1
        self.conv_in = conv(config.in_channels, channels[0], **kw)
        self.down_blocks = nnx.List(
            [
                _DownBlock(channels[max(i - 1, 0)], c, config.layers_per_block, groups, i < last, **kw)
                for i, c in enumerate(channels)
            ]
        )
        self.mid_block = _MidBlock(channels[-1], groups, config.mid_block_add_attention, **kw)
        self.conv_norm_out = GroupNorm(groups, channels[-1], _EPS, param_dtype=kw["param_dtype"])
        self.conv_out = conv(channels[-1], 2 * config.latent_channels, **kw)

    def fine(self, x: Image) -> Float[Array, "b h w d"]:
        """The layers above the latents' resolution."""
        x = self.conv_in(x)
        for block in self.down_blocks[:-1]:
            x = block(x)
        return x

    def coarse(self, x: Float[Array, "b h w d"]) -> Float[Array, "b h w 2*c"]:
        """The layers at the latents' resolution, which come last."""
        x = self.mid_block(self.down_blocks[-1](x))
        return self.conv_out(jax.nn.silu(self.conv_norm_out(x)))

    def __call__(self, x: Image) -> Float[Array, "b h w 2*c"]:
        return self.coarse(self.fine(x))


class Decoder(nnx.Module):
    """Latents, after ``post_quant_conv``, to an image."""

    def __init__(self, config: AutoencoderKLConfig, **kw):
        channels, groups = config.block_out_channels[::-1], config.norm_num_groups
        last = len(channels) - 1
        self.conv_in = conv(config.latent_channels, channels[0], **kw)
        self.mid_block = _MidBlock(channels[0], groups, config.mid_block_add_attention, **kw)
        self.up_blocks = nnx.List(
            [
                _UpBlock(channels[max(i - 1, 0)], c, config.layers_per_block + 1, groups, i < last, **kw)
                for i, c in enumerate(channels)
            ]
        )
        self.conv_norm_out = GroupNorm(groups, channels[-1], _EPS, param_dtype=kw["param_dtype"])
        self.conv_out = conv(channels[-1], config.out_channels, **kw)

    def coarse(self, z: Latents) -> Float[Array, "b h w d"]:
        """The layers at the latents' resolution, which come first."""
        x = self.mid_block(self.conv_in(z))
        for layer in self.up_blocks[0].resnets:
            x = layer(x)
        return x

    def fine(self, x: Float[Array, "b h w d"]) -> Image:
        """The layers above the latents' resolution."""
        for layer in self.up_blocks[0].upsamplers:
            x = layer(x)
        for block in self.up_blocks[1:]:
            x = block(x)
        return self.conv_out(jax.nn.silu(self.conv_norm_out(x)))

    def __call__(self, z: Latents) -> Image:
        return self.fine(self.coarse(z))


class AutoencoderKL(nnx.Module):
    """Encoder and decoder with a diagonal Gaussian posterior.

    ``encode`` and ``decode`` speak raw latents; ``scale`` and ``unscale`` go to and from the diffusion model's space.
    """

    config_class: ClassVar[type[ModelConfig]] = AutoencoderKLConfig

    def __init__(
        self,
        config: AutoencoderKLConfig,
        *,
        dtype: DType = jnp.float32,
        param_dtype: DType = jnp.float32,
        rngs: nnx.Rngs,
    ):
        kw = dict(dtype=dtype, param_dtype=param_dtype, rngs=rngs)
        self.config, self.dtype = config, jnp.dtype(dtype)
        c = config.latent_channels
        self.encoder, self.decoder = Encoder(config, **kw), Decoder(config, **kw)
        if config.use_quant_conv:
            self.quant_conv = conv(2 * c, 2 * c, 1, **kw)
        if config.use_post_quant_conv:
            self.post_quant_conv = conv(c, c, 1, **kw)

    @property
    def downscale_factor(self) -> int:
        """Pixels per latent, along each side."""
        return 2 ** (len(self.config.block_out_channels) - 1)

    @property
    def halo(self) -> int:
        """Latents that the layers above their resolution see to each side, whichever of encoder and decoder sees more.

        A pixel of the decoder hangs on this many latents around it, a latent on the pixels of this many.
        """
        layers, levels = self.config.layers_per_block, len(self.config.block_out_channels) - 1
        decoder, encoder = 1, 0  # pixels; the decoder's last convolution, the encoder's coarse end
        for _ in range(levels):
            # A residual block has two convolutions; one more after the upsampling, one that downsamples.
            decoder = math.ceil((decoder + 2 * (layers + 1) + 1) / 2)
            encoder = 2 * encoder + 1 + 2 * layers
        return max(decoder, math.ceil((encoder + 1) / self.downscale_factor))

    def encode(self, images: Image) -> tuple[Latents, Latents]:
        """Mean and log-variance of the posterior, in raw latent space, float32; log-variance clipped to [-30, 20]."""
        return self.encode_coarse(self.encode_fine(images))

    def encode_fine(self, images: Image) -> Float[Array, "b h w d"]:
        """The first part of ``encode``: the layers above the latents' resolution."""
        return self.encoder.fine(images.astype(self.dtype))

    def encode_coarse(self, features: Float[Array, "b h w d"]) -> tuple[Latents, Latents]:
        """The second part of ``encode``."""
        moments = self.encoder.coarse(features)
        if self.config.use_quant_conv:
            moments = self.quant_conv(moments)
        mean, logvar = jnp.split(moments.astype(jnp.float32), 2, axis=-1)
        return mean, jnp.clip(logvar, -30.0, 20.0)

    def decode(self, latents: Latents) -> Image:
        """Raw latents to an image, float32, about [-1, 1] (not clipped)."""
        return self.decode_fine(self.decode_coarse(latents))

    def decode_coarse(self, latents: Latents) -> Float[Array, "b h w d"]:
        """The first part of ``decode``: the layers at the latents' resolution."""
        z = latents.astype(self.dtype)
        if self.config.use_post_quant_conv:
            z = self.post_quant_conv(z)
        return self.decoder.coarse(z)

    def decode_fine(self, features: Float[Array, "b h w d"]) -> Image:
        """The second part of ``decode``."""
        return self.decoder.fine(features).astype(jnp.float32)

    def scale(self, latents: Latents) -> Latents:
        """Raw latents to the diffusion model's space."""
        return (latents - (self.config.shift_factor or 0.0)) * self.config.scaling_factor

    def unscale(self, latents: Latents) -> Latents:
        """The inverse of ``scale``."""
        return latents / self.config.scaling_factor + (self.config.shift_factor or 0.0)

"""The denoiser: a UNet conditioned on a timestep and on text (Rombach et al. 2112.10752)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from img2img_jax.models.attention import Transformer2DModel
from img2img_jax.models.config import ModelConfig, per_block
from img2img_jax.models.conv import conv
from img2img_jax.models.layers import (
    Downsample2D,
    GroupNorm,
    ResnetBlock2D,
    Upsample2D,
    sinusoidal_embedding,
)
from img2img_jax.types import AddedConditions, DType, Latents, TextStates

_CROSS = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D")
_PLAIN = ("DownBlock2D", "UpBlock2D")
_MID = "UNetMidBlock2DCrossAttn"
_TEXT_TIME = "text_time"


@dataclasses.dataclass(frozen=True, kw_only=True)
class UNet2DConditionConfig(ModelConfig):
    """``unet/config.json``; names and defaults as in diffusers.

    ``attention_head_dim`` is, in spite of its name, the number of heads (one, or one per block): the name was wrong
    in the first release and every checkpoint since relies on it.
    """

    sample_size: int | None = None
    in_channels: int = 4
    out_channels: int = 4
    flip_sin_to_cos: bool = True
    freq_shift: int = 0
    down_block_types: tuple[str, ...] = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
    mid_block_type: str | None = "UNetMidBlock2DCrossAttn"
    up_block_types: tuple[str, ...] = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers_per_block: int | tuple[int, ...] = 2
    norm_num_groups: int = 32
    norm_eps: float = 1e-5
    cross_attention_dim: int = 1280
    transformer_layers_per_block: int | tuple[int, ...] = 1
    attention_head_dim: int | tuple[int, ...] = 8
    use_linear_projection: bool = False
    time_cond_proj_dim: int | None = None
    addition_embed_type: str | None = None
    addition_time_embed_dim: int | None = None
    projection_class_embeddings_input_dim: int | None = None

    class_name: ClassVar[str] = "UNet2DConditionModel"
    counts: ClassVar[frozenset[str]] = frozenset({"layers_per_block", "transformer_layers_per_block"})
    neutral: ClassVar[Mapping[str, tuple]] = {
        "act_fn": ("silu", "swish"),
        "center_input_sample": (False,),
        "only_cross_attention": (False,),
        "downsample_padding": (1,),
        "mid_block_scale_factor": (1, 1.0),
        "dual_cross_attention": (False,),
        "resnet_time_scale_shift": ("default",),
        "resnet_skip_time_act": (False,),
        "resnet_out_scale_factor": (1, 1.0),
        "time_embedding_type": ("positional",),
        "conv_in_kernel": (3,),
        "conv_out_kernel": (3,),
        "attention_type": ("default",),
    }
    unused: ClassVar[frozenset[str]] = frozenset({"dropout", "upcast_attention", "addition_embed_type_num_heads"})

    def __post_init__(self):
        blocks = len(self.block_out_channels)
        for name in ("down_block_types", "up_block_types"):
            types = getattr(self, name)
            if len(types) != blocks:
                raise ValueError(f"{name} has {len(types)} entries for {blocks} block_out_channels")
            for block in types:
                if block not in _CROSS + _PLAIN:
                    raise ValueError(f"{name}: {block!r} is not supported; supported: {list(_CROSS + _PLAIN)}")
        if self.mid_block_type not in (_MID, None):
            raise ValueError(f"mid_block_type={self.mid_block_type!r} is not supported; supported: {_MID!r}, null")
        self._check_addition()

    def _check_addition(self):
        if self.addition_embed_type not in (None, _TEXT_TIME):
            raise ValueError(
                f"addition_embed_type={self.addition_embed_type!r} is not supported; supported: {_TEXT_TIME!r}, null"
            )
        for name in ("addition_time_embed_dim", "projection_class_embeddings_input_dim"):
            if self.takes_sizes and getattr(self, name) is None:
                raise ValueError(f"addition_embed_type={_TEXT_TIME!r} needs {name}, which is null")

    def _blocks(self, name: str) -> tuple[int, ...]:
        return per_block(getattr(self, name), len(self.block_out_channels), name)

    @property
    def takes_sizes(self) -> bool:
        """Whether pooled texts and sizes are added to the time, as in SDXL."""
        return self.addition_embed_type == _TEXT_TIME

    @property
    def heads(self) -> tuple[int, ...]:
        """Attention heads per down block."""
        return self._blocks("attention_head_dim")

    @property
    def layers(self) -> tuple[int, ...]:
        """Residual layers per down block (an up block has one more)."""
        return self._blocks("layers_per_block")

    @property
    def depths(self) -> tuple[int, ...]:
        """Transformer blocks per attention layer, per down block."""
        return self._blocks("transformer_layers_per_block")


class TimestepEmbedding(nnx.Module):
    """Two linear layers on the sinusoidal embedding; LCM adds its guidance embedding (2310.04378) before them."""

    def __init__(self, dim: int, time_dim: int, cond_dim: int | None, **kw):
        self.linear_1 = nnx.Linear(dim, time_dim, **kw)
        if cond_dim is not None:
            self.cond_proj = nnx.Linear(cond_dim, dim, use_bias=False, **kw)
        self.linear_2 = nnx.Linear(time_dim, time_dim, **kw)

    def __call__(self, x: Float[Array, "b d"], condition: Float[Array, "b e"] | None) -> Float[Array, "b t"]:
        if condition is not None:
            x = x + self.cond_proj(condition.astype(x.dtype))
        return self.linear_2(jax.nn.silu(self.linear_1(x)))


class _Stage(nnx.Module):
    """What down, mid and up blocks share: building their residual and attention layers from the configuration."""

    def _resnet(self, config: UNet2DConditionConfig, c_in: int, c_out: int, kw: dict) -> ResnetBlock2D:
        time_dim = 4 * config.block_out_channels[0]
        return ResnetBlock2D(c_in, c_out, time_dim=time_dim, groups=config.norm_num_groups, eps=config.norm_eps, **kw)

    def _transformers(self, config: UNet2DConditionConfig, level: int, channels: int, count: int, kw: dict) -> nnx.List:
        return nnx.List(
            [
                Transformer2DModel(
                    channels,
                    config.heads[level],
                    config.cross_attention_dim,
                    layers=config.depths[level],
                    groups=config.norm_num_groups,
                    use_linear_projection=config.use_linear_projection,
                    **kw,
                )
                for _ in range(count)
            ]
        )


class DownBlock(_Stage):
    """Residual (and attention) layers, then half the resolution, except in the last block."""

    def __init__(self, config: UNet2DConditionConfig, level: int, **kw):
        channels = config.block_out_channels
        c_in, c_out, layers = channels[max(level - 1, 0)], channels[level], config.layers[level]
        self.resnets = nnx.List([self._resnet(config, c_in if i == 0 else c_out, c_out, kw) for i in range(layers)])
        self.has_attention = config.down_block_types[level] in _CROSS
        if self.has_attention:
            self.attentions = self._transformers(config, level, c_out, layers, kw)
        self.has_downsampler = level < len(channels) - 1
        if self.has_downsampler:
            self.downsamplers = nnx.List([Downsample2D(c_out, padding=1, **kw)])

    def __call__(self, x: Latents, time: Array, text: TextStates) -> tuple[Latents, list[Latents]]:
        skips = []
        for i, resnet in enumerate(self.resnets):
            x = resnet(x, time)
            if self.has_attention:
                x = self.attentions[i](x, text)
            skips.append(x)
        if self.has_downsampler:
            x = self.downsamplers[0](x)
            skips.append(x)
        return x, skips


class MidBlock(_Stage):
    """Residual, attention, residual at the lowest resolution."""

    def __init__(self, config: UNet2DConditionConfig, **kw):
        channels = config.block_out_channels[-1]
        self.resnets = nnx.List([self._resnet(config, channels, channels, kw) for _ in range(2)])
        self.attentions = self._transformers(config, -1, channels, 1, kw)

    def __call__(self, x: Latents, time: Array, text: TextStates) -> Latents:
        x = self.attentions[0](self.resnets[0](x, time), text)
        return self.resnets[1](x, time)


class UpBlock(_Stage):
    """Each layer takes one skip from the way down; twice the resolution after, except in the last block."""

    def __init__(self, config: UNet2DConditionConfig, position: int, **kw):
        channels, blocks = config.block_out_channels, len(config.block_out_channels)
        level = blocks - 1 - position
        c_out, layers = channels[level], config.layers[level] + 1
        c_previous, c_skip_last = channels[min(level + 1, blocks - 1)], channels[max(level - 1, 0)]
        self.resnets = nnx.List(
            [
                self._resnet(
                    config,
                    (c_previous if i == 0 else c_out) + (c_skip_last if i == layers - 1 else c_out),
                    c_out,
                    kw,
                )
                for i in range(layers)
            ]
        )
        self.has_attention = config.up_block_types[position] in _CROSS
        if self.has_attention:
            self.attentions = self._transformers(config, level, c_out, layers, kw)
        self.has_upsampler = position < blocks - 1
        if self.has_upsampler:
            self.upsamplers = nnx.List([Upsample2D(c_out, **kw)])

    def __call__(self, x: Latents, time: Array, text: TextStates, skips: list[Latents]) -> Latents:
        for i, resnet in enumerate(self.resnets):
            x = resnet(jnp.concatenate([x, skips.pop()], -1), time)
            if self.has_attention:
                x = self.attentions[i](x, text)
        if self.has_upsampler:
            # The next skip names the size: an odd size was rounded up on the way down.
            x = self.upsamplers[0](x, skips[-1].shape[1:3])
        return x


class UNet2DConditionModel(nnx.Module):
    """Predicts noise (or v, or the sample) from noisy latents, a timestep and text states.

    Args:
      config: the checkpoint's configuration.
      dtype: of the computation; norms and softmax are float32 whatever it is.
      param_dtype: of the parameters.
      rngs: initial parameters (loading replaces them without ever drawing them).
    """

    config_class: ClassVar[type[ModelConfig]] = UNet2DConditionConfig

    def __init__(
        self,
        config: UNet2DConditionConfig,
        *,
        dtype: DType = jnp.float32,
        param_dtype: DType = jnp.float32,
        rngs: nnx.Rngs,
    ):
        kw = dict(dtype=dtype, param_dtype=param_dtype, rngs=rngs)
        channels = config.block_out_channels
        self.config, self.dtype = config, jnp.dtype(dtype)
        self.conv_in = conv(config.in_channels, channels[0], **kw)
        self.time_embedding = TimestepEmbedding(channels[0], 4 * channels[0], config.time_cond_proj_dim, **kw)
        if config.takes_sizes:
            self.add_embedding = TimestepEmbedding(
                config.projection_class_embeddings_input_dim, 4 * channels[0], None, **kw
            )
        levels = range(len(channels))
        self.down_blocks = nnx.List([DownBlock(config, level, **kw) for level in levels])
        if config.mid_block_type is not None:
            self.mid_block = MidBlock(config, **kw)
        self.up_blocks = nnx.List([UpBlock(config, position, **kw) for position in levels])
        self.conv_norm_out = GroupNorm(config.norm_num_groups, channels[0], config.norm_eps, param_dtype=param_dtype)
        self.conv_out = conv(channels[0], config.out_channels, **kw)

    def __call__(
        self,
        sample: Latents,
        timestep: Float[Array, " b"],
        encoder_hidden_states: TextStates,
        timestep_cond: Float[Array, "b e"] | None = None,
        added: AddedConditions | None = None,
    ) -> Latents:
        """One evaluation.

        Args:
          sample: noisy latents; height and width of any size (a multiple of 2**(blocks-1) is fastest).
          timestep: in training steps, 0..num_train_timesteps, may be fractional.
          encoder_hidden_states: text states of width ``cross_attention_dim``.
          timestep_cond: guidance embedding of LCM-like checkpoints (``time_cond_proj_dim`` wide).
          added: pooled texts and sizes, where the configuration's ``addition_embed_type`` is "text_time".

        Raises:
          ValueError: ``added`` is missing, or has no place.
        """
        if (added is not None) != self.config.takes_sizes:
            raise ValueError(
                f"addition_embed_type={self.config.addition_embed_type!r}, but added is "
                f"{'missing' if added is None else 'given'}; pooled texts and sizes belong to 'text_time' alone"
            )
        frequencies = self.frequencies(timestep, self.config.block_out_channels[0])
        time = self.time_embedding(frequencies.astype(self.dtype), timestep_cond)
        if added is not None:
            time = time + self._added_embedding(added)
        text = encoder_hidden_states.astype(self.dtype)
        x = self.conv_in(sample.astype(self.dtype))
        skips = [x]
        for block in self.down_blocks:
            x, more = block(x, time, text)
            skips += more
        if self.config.mid_block_type is not None:
            x = self.mid_block(x, time, text)
        for block in self.up_blocks:
            x = block(x, time, text, skips)
        return self.conv_out(jax.nn.silu(self.conv_norm_out(x)))

    def frequencies(self, values: Float[Array, " b"], dim: int) -> Float[Array, "b dim"]:
        """Sines and cosines of numbers, in the configuration's order: what timesteps and sizes are embedded from."""
        return sinusoidal_embedding(
            values,
            dim,
            flip_sin_to_cos=self.config.flip_sin_to_cos,
            downscale_freq_shift=self.config.freq_shift,
        )

    def _added_embedding(self, added: AddedConditions) -> Float[Array, "b t"]:
        """Each number embedded as a timestep is, all of them side by side behind the pooled text."""
        numbers = self.frequencies(added.time_ids.reshape(-1), self.config.addition_time_embed_dim)
        numbers = numbers.reshape(len(added.time_ids), -1)
        return self.add_embedding(jnp.concatenate([added.text_embeds, numbers], -1).astype(self.dtype), None)

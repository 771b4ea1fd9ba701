"""CLIP: the text encoder of Stable Diffusion and, with its vision tower, the judge of prompt alignment.

Radford et al. 2103.00020. Parameter paths are those of transformers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Self

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from img2img_jax.models.attention import attention
from img2img_jax.models.config import ModelConfig
from img2img_jax.models.layers import LayerNorm, activation
from img2img_jax.types import DType, Image, TextStates, TokenIds

# Bookkeeping of transformers that every configuration file carries and inference does not read.
_BOOKKEEPING = frozenset(
    """architectures transformers_version output_hidden_states output_attentions return_dict dtype torch_dtype
    chunk_size_feed_forward is_encoder_decoder id2label label2id problem_type model_type attention_dropout dropout
    initializer_range initializer_factor pad_token_id bos_token_id logit_scale_init_value text_config_dict
    vision_config_dict gradient_checkpointing use_cache num_beams max_length min_length top_k top_p temperature
    typical_p repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size num_return_sequences
    num_beam_groups diversity_penalty tie_word_embeddings attn_implementation tie_encoder_decoder
    pruned_heads""".split()
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _TowerConfig(ModelConfig):
    hidden_size: int = 512
    intermediate_size: int = 2048
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    projection_dim: int = 512

    counts: ClassVar[frozenset[str]] = frozenset({"num_hidden_layers"})
    unused: ClassVar[frozenset[str]] = _BOOKKEEPING


@dataclasses.dataclass(frozen=True, kw_only=True)
class CLIPTextConfig(_TowerConfig):
    """``text_encoder/config.json``; names and defaults as in transformers."""

    vocab_size: int = 49408
    max_position_embeddings: int = 77
    eos_token_id: int = 49407

    class_name: ClassVar[str] = "CLIPTextModel"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CLIPVisionConfig(_TowerConfig):
    """The vision tower's configuration; names and defaults as in transformers."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_attention_heads: int = 12
    num_channels: int = 3
    image_size: int = 224
    patch_size: int = 32

    class_name: ClassVar[str] = "CLIPVisionModel"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CLIPConfig(ModelConfig):
    """``config.json`` of a whole CLIP: two towers and the width they are projected to."""

    text_config: CLIPTextConfig = CLIPTextConfig()
    vision_config: CLIPVisionConfig = CLIPVisionConfig()
    projection_dim: int = 512

    class_name: ClassVar[str] = "CLIPModel"
    unused: ClassVar[frozenset[str]] = _BOOKKEEPING

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        towers = {
            "text_config": CLIPTextConfig.from_dict(values.get("text_config") or {}),
            "vision_config": CLIPVisionConfig.from_dict(values.get("vision_config") or {}),
        }
        rest = super().from_dict({k: v for k, v in values.items() if k not in towers})
        return dataclasses.replace(rest, **towers)


class CLIPAttention(nnx.Module):
    """Multi-head self-attention with transformers' parameter names."""

    def __init__(self, config: _TowerConfig, **kw):
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.k_proj, self.v_proj = nnx.Linear(width, width, **kw), nnx.Linear(width, width, **kw)
        self.q_proj, self.out_proj = nnx.Linear(width, width, **kw), nnx.Linear(width, width, **kw)

    def __call__(self, x: Float[Array, "b n d"], bias: Array | None) -> Float[Array, "b n d"]:
        def split(y):
            return y.reshape(*y.shape[:2], self.heads, -1)

        out = attention(split(self.q_proj(x)), split(self.k_proj(x)), split(self.v_proj(x)), bias)
        return self.out_proj(out.reshape(x.shape))


class CLIPMLP(nnx.Module):
    """Two linear layers."""

    def __init__(self, config: _TowerConfig, **kw):
        self.activation = activation(config.hidden_act)
        self.fc1 = nnx.Linear(config.hidden_size, config.intermediate_size, **kw)
        self.fc2 = nnx.Linear(config.intermediate_size, config.hidden_size, **kw)

    def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        return self.fc2(self.activation(self.fc1(x)))


class CLIPEncoderLayer(nnx.Module):
    """Pre-norm transformer layer."""

    def __init__(self, config: _TowerConfig, **kw):
        norm_kw = dict(param_dtype=kw["param_dtype"], rngs=kw["rngs"])
        self.layer_norm1 = LayerNorm(config.hidden_size, config.layer_norm_eps, **norm_kw)
        self.self_attn = CLIPAttention(config, **kw)
        self.layer_norm2 = LayerNorm(config.hidden_size, config.layer_norm_eps, **norm_kw)
        self.mlp = CLIPMLP(config, **kw)

    def __call__(self, x: Float[Array, "b n d"], bias: Array | None) -> Float[Array, "b n d"]:
        x = x + self.self_attn(self.layer_norm1(x), bias)
        return x + self.mlp(self.layer_norm2(x))


class CLIPEncoder(nnx.Module):
    """The stack of layers both towers have."""

    def __init__(self, config: _TowerConfig, **kw):
        self.layers = nnx.List([CLIPEncoderLayer(config, **kw) for _ in range(config.num_hidden_layers)])

    def __call__(self, x: Float[Array, "b n d"], bias: Array | None = None) -> tuple[Float[Array, "b n d"], ...]:
        """States before the first layer and after each."""
        states = [x]
        for layer in self.layers:
            states.append(layer(states[-1], bias))
        return tuple(states)


class CLIPTextEmbeddings(nnx.Module):
    """Token and position embeddings, summed."""

    def __init__(self, config: CLIPTextConfig, **kw):
        self.token_embedding = nnx.Embed(config.vocab_size, config.hidden_size, **kw)
        self.position_embedding = nnx.Embed(config.max_position_embeddings, config.hidden_size, **kw)

    def __call__(self, input_ids: TokenIds) -> TextStates:
        return self.token_embedding(input_ids) + self.position_embedding(jnp.arange(input_ids.shape[1]))


class TextOutput(NamedTuple):
    """What a text tower gives."""

    last_hidden_state: TextStates
    """Every token's final state, normalised."""
    pooled: Float[Array, "b d"]
    """The final state of the end-of-text token, projected where the tower has a projection."""
    hidden_states: tuple[TextStates, ...]
    """Every token's state before the first layer and after each of all layers, none of them normalised."""


class CLIPTextModel(nnx.Module):
    """Causal transformer over tokens; padding is attended to, as Stable Diffusion does."""

    config_class: ClassVar[type[ModelConfig]] = CLIPTextConfig

    def __init__(
        self,
        config: CLIPTextConfig,
        *,
        dtype: DType = jnp.float32,
        param_dtype: DType = jnp.float32,
        rngs: nnx.Rngs,
    ):
        kw = dict(dtype=dtype, param_dtype=param_dtype, rngs=rngs)
        self.config, self.dtype = config, jnp.dtype(dtype)
        self.embeddings = CLIPTextEmbeddings(config, **kw)
        self.encoder = CLIPEncoder(config, **kw)
        self.final_layer_norm = LayerNorm(config.hidden_size, config.layer_norm_eps, param_dtype=param_dtype, rngs=rngs)

    def __call__(self, input_ids: TokenIds, *, clip_skip: int = 0) -> TextOutput:
        """States of ``input_ids`` (at most ``max_position_embeddings`` long).

        ``clip_skip`` layers at the end are left out of the final states, the final norm is not: diffusers' count, one
        below that of AUTOMATIC1111's web UI.
        """
        n = input_ids.shape[1]
        causal = jnp.where(jnp.tril(jnp.ones((n, n), bool)), 0.0, -jnp.inf)
        hidden_states = self.encoder(self.embeddings(input_ids), causal)
        states = self.final_layer_norm(hidden_states[len(hidden_states) - 1 - clip_skip])
        # eos_token_id 2 marks the first CLIP releases, whose true end-of-text token is the largest id.
        is_end = input_ids if self.config.eos_token_id == 2 else input_ids == self.config.eos_token_id
        return TextOutput(states, states[jnp.arange(len(states)), jnp.argmax(is_end, axis=-1)], hidden_states)


class CLIPTextModelWithProjection(nnx.Module):
    """The text tower with its projection into the space of pictures: the second encoder of SDXL.

    Args:
      config: of the tower; ``projection_dim`` is the width of the pooled output.
      **kw: ``dtype``, ``param_dtype`` and ``rngs``, as for ``CLIPTextModel``.
    """

    config_class: ClassVar[type[ModelConfig]] = CLIPTextConfig

    def __init__(self, config: CLIPTextConfig, **kw: Any):
        self.text_model = CLIPTextModel(config, **kw)
        self.text_projection = nnx.Linear(config.hidden_size, config.projection_dim, use_bias=False, **kw)
        self.config, self.dtype = config, self.text_model.dtype

    def __call__(self, input_ids: TokenIds) -> TextOutput:
        """States of ``input_ids`` (at most ``max_position_embeddings`` long); the pooled one is projected."""
        output = self.text_model(input_ids)
        return output._replace(pooled=self.text_projection(output.pooled))


class CLIPVisionEmbeddings(nnx.Module):
    """Patches, linearly embedded, behind a class token, plus positions."""

    def __init__(self, config: CLIPVisionConfig, **kw):
        size, width = config.patch_size, config.hidden_size
        self.class_embedding = nnx.Param(0.02 * kw["rngs"].params.normal((width,), kw["param_dtype"]))
        self.patch_embedding = nnx.Conv(
            config.num_channels, width, (size, size), strides=(size, size), padding="VALID", use_bias=False, **kw
        )
        self.position_embedding = nnx.Embed((config.image_size // size) ** 2 + 1, width, **kw)
        self.dtype = jnp.dtype(kw["dtype"])

    def __call__(self, images: Float[Array, "b H W 3"]) -> Float[Array, "b n d"]:
        patches = self.patch_embedding(images.astype(self.dtype))
        b, h, w, d = patches.shape
        token = jnp.broadcast_to(self.class_embedding[...].astype(self.dtype), (b, 1, d))
        x = jnp.concatenate([token, patches.reshape(b, h * w, d)], axis=1)
        return x + self.position_embedding(jnp.arange(h * w + 1))


class CLIPVisionModel(nnx.Module):
    """ViT; the pooled output is the class token's, normalised."""

    config_class: ClassVar[type[ModelConfig]] = CLIPVisionConfig

    def __init__(
        self,
        config: CLIPVisionConfig,
        *,
        dtype: DType = jnp.float32,
        param_dtype: DType = jnp.float32,
        rngs: nnx.Rngs,
    ):
        kw = dict(dtype=dtype, param_dtype=param_dtype, rngs=rngs)
        norm_kw = dict(param_dtype=param_dtype, rngs=rngs)
        self.config = config
        self.embeddings = CLIPVisionEmbeddings(config, **kw)
        # The spelling is the checkpoint's.
        self.pre_layrnorm = LayerNorm(config.hidden_size, config.layer_norm_eps, **norm_kw)
        self.encoder = CLIPEncoder(config, **kw)
        self.post_layernorm = LayerNorm(config.hidden_size, config.layer_norm_eps, **norm_kw)

    def __call__(self, images: Image, kept: Int[Array, "b k"] | None = None) -> Float[Array, "b d"]:
        """Pooled features of pictures already resized and normalised as the checkpoint wants.

        Args:
          kept: numbers of the patches that are looked at, row by row from 0; all of them by default. Training on some
            costs less and sees more pictures in the same time (Li et al. 2212.00794).
        """
        size = self.config.image_size
        if images.shape[1:3] != (size, size):
            raise ValueError(f"pictures are {images.shape[1:3]}, this vision tower takes {(size, size)}")
        x = self.embeddings(images)
        if kept is not None:
            patches = jnp.take_along_axis(x[:, 1:], kept[..., None], axis=1)
            x = jnp.concatenate([x[:, :1], patches], axis=1)
        x = self.encoder(self.pre_layrnorm(x))[-1]
        return self.post_layernorm(x[:, 0])


class CLIPModel(nnx.Module):
    """Both towers and their projections into one space, where cosines compare pictures and prompts."""

    config_class: ClassVar[type[ModelConfig]] = CLIPConfig

    def __init__(
        self,
        config: CLIPConfig,
        *,
        dtype: DType = jnp.float32,
        param_dtype: DType = jnp.float32,
        rngs: nnx.Rngs,
    ):
        kw = dict(dtype=dtype, param_dtype=param_dtype, rngs=rngs)
        self.config = config
        self.text_model = CLIPTextModel(config.text_config, **kw)
        self.vision_model = CLIPVisionModel(config.vision_config, **kw)
        self.text_projection = nnx.Linear(config.text_config.hidden_size, config.projection_dim, use_bias=False, **kw)
        self.visual_projection = nnx.Linear(
            config.vision_config.hidden_size, config.projection_dim, use_bias=False, **kw
        )
        # ln(1 / 0.07), CLIP's initial temperature.
        self.logit_scale = nnx.Param(jnp.asarray(2.6592, param_dtype))

    def text_features(self, input_ids: TokenIds) -> Float[Array, "b p"]:
        """Projected text embeddings, L2-normalised, float32."""
        return _unit(self.text_projection(self.text_model(input_ids).pooled))

    def image_features(self, images: Image, kept: Int[Array, "b k"] | None = None) -> Float[Array, "b p"]:
        """Projected picture embeddings, L2-normalised, float32; ``kept`` as for ``CLIPVisionModel``."""
        return _unit(self.visual_projection(self.vision_model(images, kept)))


def _unit(x: Float[Array, "b p"]) -> Float[Array, "b p"]:
    x = x.astype(jnp.float32)
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)

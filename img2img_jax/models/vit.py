"""ViT (Dosovitskiy et al. 2010.11929), the network of DINO (Caron et al. 2104.14294).

Parameter paths are the keys of the published files, which transformers 5 renames while loading.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from img2img_jax.models.attention import attention
from img2img_jax.models.clip import CLIPVisionConfig
from img2img_jax.models.config import ModelConfig
from img2img_jax.models.layers import LayerNorm, activation
from img2img_jax.types import DType, Image


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViTConfig(ModelConfig):
    """``config.json`` of a ViT; names and defaults as in transformers."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    image_size: int = 224
    patch_size: int = 16
    num_channels: int = 3
    qkv_bias: bool = True

    class_name: ClassVar[str] = "ViTModel"
    unused: ClassVar[frozenset[str]] = CLIPVisionConfig.unused | frozenset(
        "hidden_dropout_prob attention_probs_dropout_prob encoder_stride pooler_output_size pooler_act".split()
    )


class ViTPatchEmbeddings(nnx.Module):
    """Patches, linearly embedded."""

    def __init__(self, config: ViTConfig, **kw):
        side = (config.patch_size, config.patch_size)
        self.projection = nnx.Conv(
            config.num_channels, config.hidden_size, side, strides=side, padding="VALID", use_bias=True, **kw
        )

    def __call__(self, images: Float[Array, "b H W 3"]) -> Float[Array, "b n d"]:
        patches = self.projection(images)
        return patches.reshape(len(patches), -1, patches.shape[-1])


class ViTEmbeddings(nnx.Module):
    """Patches behind a class token, plus positions."""

    def __init__(self, config: ViTConfig, **kw):
        tokens = (config.image_size // config.patch_size) ** 2 + 1
        shape, dtype, draw = (1, tokens, config.hidden_size), kw["param_dtype"], kw["rngs"].params.normal
        self.cls_token = nnx.Param(0.02 * draw((1, 1, config.hidden_size), dtype))
        self.position_embeddings = nnx.Param(0.02 * draw(shape, dtype))
        self.patch_embeddings = ViTPatchEmbeddings(config, **kw)
        self.dtype = jnp.dtype(kw["dtype"])

    def __call__(self, images: Float[Array, "b H W 3"]) -> Float[Array, "b n d"]:
        patches = self.patch_embeddings(images.astype(self.dtype))
        token = self.cls_token[...].astype(self.dtype)
        token = jnp.broadcast_to(token, (len(patches), *token.shape[1:]))
        return jnp.concatenate([token, patches], axis=1) + self.position_embeddings[...].astype(self.dtype)


class ViTSelfAttention(nnx.Module):
    """Queries, keys and values."""

    def __init__(self, config: ViTConfig, **kw):
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.query = nnx.Linear(width, width, use_bias=config.qkv_bias, **kw)
        self.key = nnx.Linear(width, width, use_bias=config.qkv_bias, **kw)
        self.value = nnx.Linear(width, width, use_bias=config.qkv_bias, **kw)

    def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        def split(y):
            return y.reshape(*y.shape[:2], self.heads, -1)

        return attention(split(self.query(x)), split(self.key(x)), split(self.value(x))).reshape(x.shape)


class ViTOutput(nnx.Module):
    """A linear layer under the name that its checkpoints give it."""

    def __init__(self, c_in: int, c_out: int, **kw):
        self.dense = nnx.Linear(c_in, c_out, **kw)

    def __call__(self, x: Float[Array, "b n c"]) -> Float[Array, "b n d"]:
        return self.dense(x)


class ViTAttention(nnx.Module):
    """Self-attention and its output layer."""

    def __init__(self, config: ViTConfig, **kw):
        self.attention = ViTSelfAttention(config, **kw)
        self.output = ViTOutput(config.hidden_size, config.hidden_size, **kw)

    def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        return self.output(self.attention(x))


class ViTLayer(nnx.Module):
    """Pre-norm transformer layer."""

    def __init__(self, config: ViTConfig, **kw):
        norm_kw = dict(param_dtype=kw["param_dtype"], rngs=kw["rngs"])
        self.layernorm_before = LayerNorm(config.hidden_size, config.layer_norm_eps, **norm_kw)
        self.attention = ViTAttention(config, **kw)
        self.layernorm_after = LayerNorm(config.hidden_size, config.layer_norm_eps, **norm_kw)
        self.intermediate = ViTOutput(config.hidden_size, config.intermediate_size, **kw)
        self.output = ViTOutput(config.intermediate_size, config.hidden_size, **kw)
        self.activation = activation(config.hidden_act)

    def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        x = x + self.attention(self.layernorm_before(x))
        return x + self.output(self.activation(self.intermediate(self.layernorm_after(x))))

    def keys(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        """The attention's keys for the layer's input ``x``, all heads side by side."""
        return self.attention.attention.key(self.layernorm_before(x))


class ViTEncoder(nnx.Module):
    """The stack of layers."""

    def __init__(self, config: ViTConfig, **kw):
        self.layer = nnx.List([ViTLayer(config, **kw) for _ in range(config.num_hidden_layers)])


class ViTModel(nnx.Module):
    """Tokens of pictures; the class token comes first."""

    config_class: ClassVar[type[ModelConfig]] = ViTConfig

    def __init__(
        self,
        config: ViTConfig,
        *,
        dtype: DType = jnp.float32,
        param_dtype: DType = jnp.float32,
        rngs: nnx.Rngs,
    ):
        kw = dict(dtype=dtype, param_dtype=param_dtype, rngs=rngs)
        self.config = config
        self.embeddings = ViTEmbeddings(config, **kw)
        self.encoder = ViTEncoder(config, **kw)
        self.layernorm = LayerNorm(config.hidden_size, config.layer_norm_eps, param_dtype=param_dtype, rngs=rngs)

    def __call__(self, images: Image) -> Float[Array, "b n d"]:
        """Normalised states of the last layer, for pictures resized and normalised as the checkpoint wants."""
        return self.layernorm(self._states(images, len(self.encoder.layer)))

    def keys(self, images: Image, layer: int) -> Float[Array, "b n d"]:
        """The keys of one layer's attention, counted from 0, all heads side by side."""
        return self.encoder.layer[layer].keys(self._states(images, layer))

    def _states(self, images: Image, layers: int) -> Float[Array, "b n d"]:
        size = self.config.image_size
        if images.shape[1:3] != (size, size):
            raise ValueError(f"pictures are {images.shape[1:3]}, this ViT takes {(size, size)}")
        x = self.embeddings(images)
        for layer in self.encoder.layer[:layers]:
            x = layer(x)
        return x

"""LPIPS: distances between deep features, weighted as people judged them (Zhang et al. 1801.03924, version 0.1).

The three backbones, AlexNet, VGG16 and SqueezeNet 1.1, are torchvision's up to the last feature that is compared, and
``features`` counts their layers as torchvision does.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from img2img_jax.models.config import ModelConfig
from img2img_jax.models.conv import conv
from img2img_jax.models.layers import Identity
from img2img_jax.types import DType, Image

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_EPS = 1e-10


@dataclasses.dataclass(frozen=True, kw_only=True)
class LPIPSConfig(ModelConfig):
    """``config.json`` of an LPIPS folder; ``net`` names the backbone as the ``lpips`` package does."""

    net: str = "alex"

    class_name: ClassVar[str] = "LPIPS"

    def __post_init__(self):
        if self.net not in _BACKBONES:
            raise ValueError(f"net={self.net!r} is no backbone of LPIPS; choose one of {', '.join(_BACKBONES)}")


class _Relu(Identity):
    def __call__(self, x: Array) -> Array:
        return jax.nn.relu(x)


class _MaxPool(nnx.Module):
    """Maxima of windows with stride 2; with ``ceil``, also of one that sticks out at the bottom or right."""

    def __init__(self, side: int, ceil: bool = False):
        self.side, self.ceil = side, ceil

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        extra = [(0, (size - self.side) % 2 if self.ceil else 0) for size in x.shape[1:3]]
        return nnx.max_pool(x, (self.side, self.side), (2, 2), padding=extra)


class _Fire(nnx.Module):
    """SqueezeNet's block (Iandola et al. 1602.07360): 1x1 down, 1x1 beside 3x3 up."""

    def __init__(self, c_in: int, squeezed: int, expanded: int, **kw):
        self.squeeze = conv(c_in, squeezed, 1, **kw)
        self.expand1x1 = conv(squeezed, expanded, 1, **kw)
        self.expand3x3 = conv(squeezed, expanded, 3, **kw)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        x = jax.nn.relu(self.squeeze(x))
        return jax.nn.relu(jnp.concatenate([self.expand1x1(x), self.expand3x3(x)], -1))


def _alexnet(**kw) -> list[nnx.Module]:
    return [
        conv(3, 64, 11, stride=4, padding=2, **kw),
        *(_Relu(), _MaxPool(3), conv(64, 192, 5, **kw)),
        *(_Relu(), _MaxPool(3), conv(192, 384, **kw)),
        *(_Relu(), conv(384, 256, **kw)),
        *(_Relu(), conv(256, 256, **kw), _Relu()),
    ]


def _vgg16(**kw) -> list[nnx.Module]:
    layers, c_in = [], 3
    for stage, (convolutions, width) in enumerate([(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)]):
        layers += [_MaxPool(2)] if stage else []
        for _ in range(convolutions):
            layers += [conv(c_in, width, **kw), _Relu()]
            c_in = width
    return layers


def _squeezenet(**kw) -> list[nnx.Module]:
    return [
        *(conv(3, 64, stride=2, padding=0, **kw), _Relu(), _MaxPool(3, ceil=True)),
        *(_Fire(64, 16, 64, **kw), _Fire(128, 16, 64, **kw), _MaxPool(3, ceil=True)),
        *(_Fire(128, 32, 128, **kw), _Fire(256, 32, 128, **kw), _MaxPool(3, ceil=True)),
        *(_Fire(256, 48, 192, **kw), _Fire(384, 48, 192, **kw)),
        *(_Fire(384, 64, 256, **kw), _Fire(512, 64, 256, **kw)),
    ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Backbone:
    """How to build the layers; after which of them features are compared; how many channels those have."""

    layers: staticmethod
    taps: tuple[int, ...]
    widths: tuple[int, ...]


_BACKBONES = {
    "alex": _Backbone(layers=staticmethod(_alexnet), taps=(1, 4, 7, 9, 11), widths=(64, 192, 384, 256, 256)),
    "vgg": _Backbone(layers=staticmethod(_vgg16), taps=(3, 8, 15, 22, 29), widths=(64, 128, 256, 512, 512)),
    "squeeze": _Backbone(
        layers=staticmethod(_squeezenet),
        taps=(1, 4, 7, 9, 10, 11, 12),
        widths=(64, 128, 256, 384, 384, 512, 512),
    ),
}


class LPIPS(nnx.Module):
    """A backbone and one weight per compared channel."""

    config_class: ClassVar[type[ModelConfig]] = LPIPSConfig

    def __init__(
        self,
        config: LPIPSConfig,
        *,
        dtype: DType = jnp.float32,
        param_dtype: DType = jnp.float32,
        rngs: nnx.Rngs,
    ):
        kw = dict(dtype=dtype, param_dtype=param_dtype, rngs=rngs)
        backbone = _BACKBONES[config.net]
        self.config, self.taps = config, backbone.taps
        self.features = nnx.List(backbone.layers(**kw))
        self.lin = nnx.List([conv(width, 1, 1, use_bias=False, **kw) for width in backbone.widths])

    def __call__(self, first: Image, second: Image) -> Float[Array, " b"]:
        """Distance of pictures in [-1, 1]: 0 (equal) upwards, seldom above 1."""
        total = jnp.zeros(len(first), jnp.float32)
        for lin, a, b in zip(self.lin, self._compared(first), self._compared(second), strict=True):
            total += lin(jnp.square(a - b)).astype(jnp.float32).mean((1, 2, 3))
        return total

    def _compared(self, images: Image) -> list[Float[Array, "b h w c"]]:
        """The compared features, each pixel's scaled to unit length."""
        x = (images - jnp.asarray(_SHIFT, images.dtype)) / jnp.asarray(_SCALE, images.dtype)
        found = []
        for place, layer in enumerate(self.features):
            x = layer(x)
            if place in self.taps:
                found.append(x / (jnp.sqrt(jnp.square(x).sum(-1, keepdims=True)) + _EPS))
        return found

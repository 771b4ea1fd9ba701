"""Low-rank adapters (LoRA: Hu et al. 2106.09685; of convolutions: LoCon), for fine-tuning that leaves a small file."""

from __future__ import annotations

import dataclasses
import re
from functools import partial
from pathlib import Path
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from img2img_jax.checkpoints.parameters import ParameterPath, key_of, to_torch
from img2img_jax.checkpoints.safetensors_file import PendingTensor, write_safetensors

Adapters: TypeAlias = dict[str, dict[str, jax.Array]]
"""Module, as PyTorch names it -> its factors: ``down`` [..., in, r] and ``up`` [r, out]."""

ATTENTION = r"\.to_(q|k|v|out\.0)$"
"""The projections of all attention layers, what most LoRA files change."""

EVERY_LAYER = r""
"""All linear layers and convolutions."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Which layers get adapters, and how large.

    Attributes:
      rank: r, of the update; no layer's rank exceeds its width.
      alpha: the update is scaled by alpha / rank, so that the learning rate need not follow the rank.
      target_modules: regular expression, searched for in the modules' names.
    """

    rank: int = 8
    alpha: float = 8.0
    target_modules: str = ATTENTION

    def __post_init__(self):
        if self.rank < 1:
            raise ValueError(f"LoRA rank {self.rank} is below 1; use 1 or more, usually 4 to 32")

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


def module_of(path: ParameterPath) -> str | None:
    """The name of the module whose kernel this is, else None."""
    return key_of(path[:-1]) if path[-1] == "kernel" else None


def init_adapters(params: nnx.State, config: LoraConfig, key: jax.Array) -> Adapters:
    """Adapters that change nothing yet: ``down`` random, ``up`` zero.

    Raises:
      ValueError: no module matches ``target_modules``.
    """
    adapters: Adapters = {}
    for path, leaf in nnx.to_flat_state(params):
        module = module_of(path)
        if module is None or not re.search(config.target_modules, module):
            continue
        *window, width, out = leaf[...].shape
        rank = min(config.rank, width, out)
        fan_in = width * int(np.prod(window, dtype=int))
        down = jax.random.normal(jax.random.fold_in(key, len(adapters)), (*window, width, rank)) / np.sqrt(fan_in)
        adapters[module] = {"down": down, "up": jnp.zeros((rank, out))}
    if not adapters:
        raise ValueError(f"no layer's name matches target_modules={config.target_modules!r}, such as {ATTENTION!r}")
    return adapters


def with_adapters(params: nnx.State, adapters: Adapters, scale: float) -> nnx.State:
    """``params`` with ``scale * down @ up`` added to each adapted kernel; differentiable."""
    changed = []
    for path, leaf in nnx.to_flat_state(params):
        factors = adapters.get(module_of(path) or "")
        if factors is not None:
            update = jnp.tensordot(factors["down"], factors["up"], 1) * scale
            leaf = leaf.replace((leaf[...].astype(jnp.float32) + update).astype(leaf[...].dtype))
        changed.append((path, leaf))
    return nnx.from_flat_state(changed)


def save_adapters(path: str | Path, adapters: Adapters, scale: float) -> None:
    """Writes the UNet's adapters as diffusers does, for ``loras=`` here and ``load_lora_weights`` there.

    All get one rank, narrow layers by zeros: where nothing is said of alpha, diffusers takes one layer's rank for it.

    Args:
      path: a ``.safetensors`` file, or a folder to hold ``pytorch_lora_weights.safetensors``.
      scale: as trained; it is folded into ``up``, so that the file's weight 1 is what was trained.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        path = path / "pytorch_lora_weights.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors, rank = {}, max(len(factors["up"]) for factors in adapters.values())
    for module, factors in adapters.items():
        missing = rank - len(factors["up"])
        up = np.pad(np.asarray(factors["up"] * scale), [(0, missing), (0, 0)])
        down = np.pad(np.asarray(factors["down"]), [(0, 0)] * (factors["down"].ndim - 1) + [(0, missing)])
        # A convolution's second factor is a convolution of one pixel.
        up = up.reshape((1,) * (down.ndim - 2) + up.shape)
        for name, values in (("lora_A", down), ("lora_B", up)):
            values = np.ascontiguousarray(to_torch(("kernel",), values))
            pending = PendingTensor(dtype=values.dtype, shape=values.shape, values=partial(np.asarray, values))
            tensors[f"unet.{module}.{name}.weight"] = pending
    write_safetensors(path, tensors)

"""One model and its folder in the diffusers layout: ``config.json`` and safetensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Sharding

from img2img_jax.checkpoints.errors import CheckpointError
from img2img_jax.checkpoints.key_table import key_table
from img2img_jax.checkpoints.parameters import (
    ParameterPath,
    from_torch,
    key_of,
    match,
    to_torch,
    torch_shape,
)
from img2img_jax.checkpoints.safetensors_file import PendingTensor
from img2img_jax.checkpoints.stored_component import StoredComponent, Tensor, stored_component
from img2img_jax.checkpoints.weight_files import WeightNames, save_weights
from img2img_jax.types import DType

Model = TypeVar("Model", bound=nnx.Module)
ShardingRule: TypeAlias = Callable[[ParameterPath, tuple[int, ...]], Sharding]
"""Where a parameter of this path and shape is to live."""


def load_component(
    model_class: type[Model],
    folder: str | Path,
    *,
    dtype: DType = jnp.float32,
    variant: str | None = None,
    sharding: ShardingRule | None = None,
) -> Model:
    """Builds a model and fills it from its folder.

    Args:
      model_class: one of ``img2img_jax.models``; its ``config_class`` reads ``config.json``.
      folder: of the component, e.g. ``.../unet``.
      dtype: of computation and parameters, whatever the file holds.
      variant: tag in the weights' file names, e.g. ``"fp16"``.
      sharding: placement of each parameter; None for JAX's default device.

    Raises:
      CheckpointError: a file is missing, broken, a pickle or of another class; ``config.json`` asks for
        something the model does not do; a key is missing, unmatched or misshapen; a value is not finite.
    """
    names = WeightNames(stem=key_table(model_class.__name__).stem, variant=variant)
    return fill(model_class, stored_component(Path(folder), names), dtype=dtype, sharding=sharding)


def fill(
    model_class: type[Model],
    stored: StoredComponent,
    *,
    dtype: DType = jnp.float32,
    sharding: ShardingRule | None = None,
) -> Model:
    """Builds a model and fills it from its files.

    Nothing is initialised: shapes come first, then each tensor goes from its file to its dtype and its device in
    turn, so that never more than the model and one tensor are held.

    Args, Raises: as ``load_component``; ``stored`` is what a folder or a single file was opened to.
    """
    table = key_table(model_class.__name__)
    graph, parameters = split(abstract(model_class, stored.config, stored.origin, jnp.dtype(dtype)))
    found = match({path: p.shape for path, p in parameters}, stored.tensors, table, stored.origin)
    filled = [(path, p.replace(_placed(path, found[path], p.dtype, sharding))) for path, p in parameters]
    return nnx.merge(graph, nnx.from_flat_state(filled))


def save_component(
    model: nnx.Module,
    folder: str | Path,
    *,
    dtype: DType | None = None,
    variant: str | None = None,
    max_shard_size: int | None = None,
) -> None:
    """Writes a model as ``load_component``, diffusers and transformers read it; each file atomically.

    Args:
      model: with ``config``, of a class that has a key table.
      folder: of the component; made if need be. Weights of the same variant in it are replaced, and Orbax's.
      dtype: of the tensors in the file; None keeps each parameter's.
      variant: tag in the weights' file names, e.g. ``"fp16"``.
      max_shard_size: bytes per file; None for a single file.

    Raises:
      CheckpointError: no key table for the class, or a value is not finite in ``dtype``.
    """
    folder = Path(folder)
    table = key_table(type(model).__name__)
    _, parameters = split(model)
    tensors = {}
    for path, parameter in sorted(parameters, key=lambda item: key_of(item[0])):
        key = table.prefix + (table.canonical(key_of(path)) or "")
        tensors[key] = _pending(key, path, parameter[...], dtype)
    folder.mkdir(parents=True, exist_ok=True)
    config = {**model.config.to_dict(), **table.config}
    save_weights(folder, WeightNames(stem=table.stem, variant=variant), tensors, max_shard_size, config)


def abstract(model_class: type[Model], values: Mapping[str, Any], origin: Path, dtype: np.dtype) -> Model:
    """The model that a configuration describes, with shapes in place of values.

    Raises:
      CheckpointError: it describes none, or one of another class; ``origin`` is named.
    """
    named, whose = values.get("_class_name", model_class.__name__), f"the configuration of {origin}"
    if named != model_class.__name__:
        raise CheckpointError(f"{whose} describes a {named}, not a {model_class.__name__}")
    try:
        config = model_class.config_class.from_dict(values)
        rngs = nnx.Rngs(params=0)
        rngs.params = _SameKey(0, tag="params")
        return nnx.eval_shape(lambda: model_class(config, dtype=dtype, param_dtype=dtype, rngs=rngs))
    except Exception as error:  # a value of the wrong type or size fails wherever it is used first
        kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
        raise CheckpointError(f"{whose} describes no model that can be built: {kind}{error}") from error


class _SameKey(nnx.RngStream):
    """Hands out one key again and again: nothing is drawn with it, and a stream that counts would be traced along,
    which takes five times as long for a full-size UNet.
    """

    def __call__(self) -> jax.Array:
        return self.key[...]


def split(model: nnx.Module) -> tuple[nnx.GraphDef, list[tuple[ParameterPath, nnx.Param]]]:
    """Structure and parameters; a model with other variables could not be filled from a file."""
    graph, parameters, rest = nnx.split(model, nnx.Param, ...)
    others = [path for path, _ in nnx.to_flat_state(rest)]
    if others:
        raise TypeError(f"{type(model).__name__} has variables that no checkpoint holds: {others[:5]}")
    return graph, list(nnx.to_flat_state(parameters))


def _placed(path: ParameterPath, tensor: Tensor, dtype: np.dtype, sharding: ShardingRule | None) -> jax.Array:
    """Reads one tensor to its dtype and device."""
    values = _cast(key_of(path), tensor.read(), dtype, str(tensor.file))
    values = from_torch(path, values)  # a view: the transfer to the device transposes faster than NumPy
    if sharding is None:
        return jax.device_put(values)
    # A callback, so that every process hands its own devices their slices and nothing travels between hosts.
    return jax.make_array_from_callback(values.shape, sharding(path, values.shape), values.__getitem__)


def _pending(key: str, path: ParameterPath, values: jax.Array, dtype: DType | None) -> PendingTensor:
    """One parameter, to be fetched from its device, cast and checked when its turn has come."""
    target = np.dtype(values.dtype if dtype is None else jnp.dtype(dtype))

    def fetch() -> np.ndarray:
        return _cast(key, to_torch(path, np.asarray(values)), target, "the model")

    return PendingTensor(dtype=target, shape=torch_shape(path, values.shape), values=fetch)


def _cast(key: str, values: np.ndarray, dtype: np.dtype, origin: str) -> np.ndarray:
    """``values`` in another dtype, still finite."""
    with np.errstate(over="ignore"):  # the check says it better
        values = values.astype(dtype, copy=False)
    if not np.isfinite(values).all():
        raise CheckpointError(
            f"{key} of {origin} is not finite in {dtype}: the weights are broken, or need a wider dtype"
        )
    return values

"""One model and its folder with Orbax in place of safetensors: what is quickest to restore to many devices."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

from img2img_jax.checkpoints.component import Model, ShardingRule, abstract, split
from img2img_jax.checkpoints.errors import CheckpointError
from img2img_jax.checkpoints.json_file import read_json, write_json
from img2img_jax.checkpoints.key_table import key_table
from img2img_jax.checkpoints.parameters import key_of
from img2img_jax.checkpoints.weight_files import ORBAX_FOLDER, WeightNames, remove_weights
from img2img_jax.types import DType


def save_orbax(model: nnx.Module, folder: str | Path) -> None:
    """Writes parameters as they are held, wherever they lie, and then ``config.json``.

    Args:
      model: with ``config``, of a class that has a key table.
      folder: of the component; made if need be. Older weights in it are replaced, safetensors included (of variants,
        such as "fp16", only Orbax's).

    Raises:
      CheckpointError: no key table for the class.
    """
    import orbax.checkpoint as ocp  # slow to import

    folder, table = Path(folder).absolute(), key_table(type(model).__name__)
    _, parameters = split(model)
    (folder / "config.json").unlink(missing_ok=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / ORBAX_FOLDER, {key_of(path): p[...] for path, p in parameters}, force=True)
    # Before the configuration, without which neither loads: of the two, never one that is out of date.
    remove_weights(folder, WeightNames(stem=table.stem))
    write_json(folder / "config.json", {**model.config.to_dict(), **table.config})


def restore_orbax(
    model_class: type[Model], folder: str | Path, *, dtype: DType = jnp.float32, sharding: ShardingRule
) -> Model:
    """Builds a model whose parameters go from the files straight to their devices; each reads what it will hold.

    Args:
      model_class: one of ``img2img_jax.models``.
      folder: of the component.
      dtype: of computation and parameters, whatever was saved.
      sharding: placement of each parameter; need not be the one it was saved with.

    Raises:
      CheckpointError: nothing was saved there, it is broken, or does not fit ``config.json``.
    """
    import orbax.checkpoint as ocp

    folder = Path(folder).absolute()
    graph, parameters = split(abstract(model_class, read_json(folder / "config.json"), folder, jnp.dtype(dtype)))
    if not (folder / ORBAX_FOLDER).is_dir():
        raise CheckpointError(f"{folder} holds no {ORBAX_FOLDER} folder; was it written by save()? load it otherwise")
    wanted = {
        key_of(path): jax.ShapeDtypeStruct(p.shape, p.dtype, sharding=sharding(path, p.shape)) for path, p in parameters
    }
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            values = checkpointer.restore(folder / ORBAX_FOLDER, wanted)
    except Exception as error:  # what the library raises changes with its releases
        raise CheckpointError(
            f"{folder / ORBAX_FOLDER} cannot be restored ({type(error).__name__}: {error})"
        ) from error
    filled = [(path, p.replace(values[key_of(path)])) for path, p in parameters]
    return nnx.merge(graph, nnx.from_flat_state(filled))

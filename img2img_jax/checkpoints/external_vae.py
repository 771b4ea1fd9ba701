"""A VAE of its own, to take the place of a checkpoint's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from img2img_jax.checkpoints.families import FAMILIES
from img2img_jax.checkpoints.hub import resolve
from img2img_jax.checkpoints.safetensors_file import stored_tensors
from img2img_jax.checkpoints.single_file import VAE, original_vae
from img2img_jax.checkpoints.stored_component import StoredComponent, stored_component
from img2img_jax.checkpoints.weight_files import WeightNames


def open_vae(path_or_hub_id: str | Path, replaced: Mapping[str, Any], variant: str | None = None) -> StoredComponent:
    """Opens a VAE: a folder of one or of a whole pipeline, a hub id, or a file in diffusers' or the original layout.

    Args:
      path_or_hub_id: where it is.
      replaced: the configuration of the VAE it stands in for, which a single file of the same class is read by.
      variant: of a folder's weight files.

    Raises:
      CheckpointError: there is none, or it is broken.
    """
    origin = resolve(path_or_hub_id)
    if origin.is_dir():
        folder = origin if (origin / "config.json").is_file() or not (origin / "vae").is_dir() else origin / "vae"
        return stored_component(folder, WeightNames(stem="diffusion_pytorch_model", variant=variant))
    tensors = {key.removeprefix(VAE): tensor for key, tensor in stored_tensors(origin).items()}
    if any(key.startswith(("encoder.layers.", "decoder.layers.")) for key in tensors):
        return StoredComponent(config={"_class_name": "AutoencoderTiny"}, tensors=tensors, origin=origin)
    is_kl = replaced.get("_class_name") == "AutoencoderKL"
    config = replaced if is_kl else FAMILIES["sd1"].components["vae"]
    if any(key.startswith(("encoder.down.", "decoder.up.")) for key in tensors):
        tensors = original_vae(tensors, config, origin)
    return StoredComponent(config=config, tensors=tensors, origin=origin)

"""Bytes in and out: checkpoints in the diffusers folder layout, read and written without PyTorch.

One engine maps parameters to keys and axes by rule (``parameters``); what a model class does differently is one
small ``KeyTable`` (``key_table``). A key that is missing, left over or misshapen is an error that names it.
"""

from img2img_jax.checkpoints.component import load_component, save_component
from img2img_jax.checkpoints.digest import sha256, weight_digests
from img2img_jax.checkpoints.errors import CheckpointError
from img2img_jax.checkpoints.hub import resolve
from img2img_jax.checkpoints.json_file import read_json, write_json
from img2img_jax.checkpoints.model_index import ModelIndex, read_model_index, write_model_index

__all__ = [
    "CheckpointError",
    "ModelIndex",
    "load_component",
    "read_json",
    "read_model_index",
    "resolve",
    "save_component",
    "sha256",
    "weight_digests",
    "write_json",
    "write_model_index",
]

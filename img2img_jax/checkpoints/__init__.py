"""Bytes in and out: checkpoints in the diffusers folder layout and in the original one, without PyTorch.

One engine maps parameters to keys and axes by rule (``parameters``); what a model class does differently is one
small ``KeyTable`` (``key_table``). A key that is missing, left over or misshapen is an error that names it.
"""

from img2img_jax.checkpoints.checkpoint import Checkpoint, TokenizerSource, open_checkpoint
from img2img_jax.checkpoints.component import fill, load_component, save_component
from img2img_jax.checkpoints.digest import sha256, weight_digests
from img2img_jax.checkpoints.errors import CheckpointError
from img2img_jax.checkpoints.hub import resolve
from img2img_jax.checkpoints.json_file import read_json, write_json
from img2img_jax.checkpoints.lora import Lora, with_loras
from img2img_jax.checkpoints.model_index import write_model_index

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "Lora",
    "TokenizerSource",
    "fill",
    "load_component",
    "open_checkpoint",
    "read_json",
    "resolve",
    "save_component",
    "sha256",
    "weight_digests",
    "with_loras",
    "write_json",
    "write_model_index",
]

"""Bytes in and out: checkpoints in the diffusers folder layout and in the original one, without PyTorch.

One engine maps parameters to keys and axes by rule (``parameters``); what a model class does differently is one
small ``KeyTable`` (``key_table``). A key that is missing, left over or misshapen is an error that names it.
"""

from img2img_jax.checkpoints.checkpoint import Checkpoint, TokenizerSource, open_checkpoint, tokenizer_name
from img2img_jax.checkpoints.component import ShardingRule, fill, load_component, save_component
from img2img_jax.checkpoints.digest import tree_digest, weight_digests
from img2img_jax.checkpoints.embedded import EMBEDDED, EMBEDDED_MODEL
from img2img_jax.checkpoints.errors import CheckpointError
from img2img_jax.checkpoints.external_vae import open_vae
from img2img_jax.checkpoints.hub import resolve
from img2img_jax.checkpoints.json_file import keep_json, read_json, write_json
from img2img_jax.checkpoints.lora import Lora, with_loras
from img2img_jax.checkpoints.model_index import ModelIndex, read_model_index, write_model_index
from img2img_jax.checkpoints.orbax_component import restore_orbax, save_orbax
from img2img_jax.checkpoints.textual_inversion import TextualInversion, with_textual_inversions

__all__ = [
    "EMBEDDED",
    "EMBEDDED_MODEL",
    "Checkpoint",
    "CheckpointError",
    "Lora",
    "ModelIndex",
    "ShardingRule",
    "TextualInversion",
    "TokenizerSource",
    "fill",
    "keep_json",
    "load_component",
    "open_checkpoint",
    "open_vae",
    "read_json",
    "read_model_index",
    "resolve",
    "restore_orbax",
    "save_component",
    "save_orbax",
    "tokenizer_name",
    "tree_digest",
    "weight_digests",
    "with_loras",
    "with_textual_inversions",
    "write_json",
    "write_model_index",
]

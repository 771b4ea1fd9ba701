"""Textual inversion (Gal et al. 2208.01618): embeddings that give a new token its meaning."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from img2img_jax.checkpoints.errors import CheckpointError
from img2img_jax.checkpoints.safetensors_file import StoredTensor, stored_tensors
from img2img_jax.checkpoints.stored_component import StoredComponent, Tensor

TextualInversion: TypeAlias = str | Path | tuple[str | Path, str]
"""A file, or a file and the token that is to stand for it in prompts."""

_FOLDER_FILE = "learned_embeds.safetensors"
_XL_KEYS = {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}
_TABLE = "embeddings.token_embedding.weight"
_MAX_VECTORS = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtendedTable:
    """An embedding table with more rows: row ``i`` of ``rows`` is that of token ``i``, wherever it lies."""

    base: Tensor
    rows: Mapping[int, np.ndarray]

    @property
    def file(self) -> Path:
        """Of the table."""
        return self.base.file

    @property
    def shape(self) -> tuple[int, ...]:
        """With the new rows."""
        return (max(self.base.shape[0], *(i + 1 for i in self.rows)), *self.base.shape[1:])

    def read(self) -> np.ndarray:
        """The table, float32."""
        table = np.zeros(self.shape, np.float32)
        table[: self.base.shape[0]] = self.base.read()
        for i, row in self.rows.items():
            table[i] = row
        return table


def with_textual_inversions(
    components: Mapping[str, StoredComponent], tokenizers: Mapping[str, Any], inversions: Sequence[TextualInversion]
) -> dict[str, StoredComponent]:
    """Components with the embeddings in their tables; the tokens are added to ``tokenizers``.

    An embedding of n vectors takes n tokens; the tokenizers of ``img2img_jax.prompts`` put them all for the first.

    Args:
      components: of a checkpoint.
      tokenizers: by the names of the text encoders.
      inversions: A1111's files (``emb_params``; ``clip_l`` and ``clip_g`` for SDXL) or those of diffusers, whose key
        is the token. A1111's are named by the file unless a token is given.

    Raises:
      CheckpointError: a file is broken, of no known layout or of another width, or its token is taken.
    """
    result = dict(components)
    for entry in inversions:
        path, token = entry if isinstance(entry, tuple) else (entry, None)
        token, vectors = _read(Path(path).expanduser(), token, components)
        for name, values in vectors.items():
            tokenizer = tokenizers[name]
            tokens = [token, *(f"{token}_{i}" for i in range(1, len(values)))]
            taken = sorted(set(tokens) & tokenizer.get_vocab().keys())
            if taken:
                raise CheckpointError(f"{path}: the tokenizer has {taken} already; name another: (file, token)")
            tokenizer.add_tokens(tokens)
            rows = dict(zip(tokenizer.convert_tokens_to_ids(tokens), values, strict=True))
            result[name] = _extended(result[name], rows, tokenizer.eos_token_id)
    return result


def _extended(component: StoredComponent, rows: Mapping[int, np.ndarray], eos_token_id: int) -> StoredComponent:
    key = _table_key(component)
    table = ExtendedTable(base=component.tensors[key], rows=rows)
    # The first CLIP releases took the largest id for the end of the text, which a new token now is.
    config = {**component.config, "vocab_size": table.shape[0], "eos_token_id": eos_token_id}
    return dataclasses.replace(component, config=config, tensors={**component.tensors, key: table})


def _table_key(component: StoredComponent) -> str:
    for key in (_TABLE, f"text_model.{_TABLE}"):
        if key in component.tensors:
            return key
    raise CheckpointError(f"{component.origin} has no {_TABLE}")


def _read(
    path: Path, token: str | None, components: Mapping[str, StoredComponent]
) -> tuple[str, dict[str, np.ndarray]]:
    """Token, and vectors [n, width] by text encoder."""
    path = path / _FOLDER_FILE if path.is_dir() else path
    tensors = stored_tensors(path)
    widths = {
        name: component.tensors[_table_key(component)].shape[-1]
        for name, component in components.items()
        if name in _XL_KEYS.values()
    }
    if tensors and tensors.keys() <= _XL_KEYS.keys():
        found = {_XL_KEYS[key]: _vectors(tensor) for key, tensor in tensors.items()}
    elif len(tensors) == 1:
        ((key, tensor),) = tensors.items()
        token = token or (key if key != "emb_params" else None)
        vectors = _vectors(tensor)
        found = {next((n for n, width in widths.items() if width == vectors.shape[1]), "text_encoder"): vectors}
    else:
        raise CheckpointError(
            f"{path} holds {sorted(tensors)[:5]}: no textual inversion (emb_params, clip_l and clip_g, or one token)"
        )
    for name, vectors in found.items():
        if vectors.shape[1] != widths.get(name):
            raise CheckpointError(
                f"{path}: vectors of width {vectors.shape[1]} for {name}, the text encoders have {widths}; is it for "
                "another family?"
            )
    return token or path.stem, found


def _vectors(tensor: StoredTensor) -> np.ndarray:
    values = tensor.read().astype(np.float32) if 1 <= len(tensor.shape) <= 2 else np.zeros((0, 0))
    values = np.atleast_2d(values)
    if not 1 <= len(values) <= _MAX_VECTORS or not np.isfinite(values).all():
        raise CheckpointError(
            f"{tensor.file}: {list(tensor.shape)} is no embedding of 1 to {_MAX_VECTORS} finite vectors [n, width]"
        )
    return values

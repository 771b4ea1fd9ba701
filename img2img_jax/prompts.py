"""Prompts to token ids."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from img2img_jax.checkpoints import CheckpointError, TokenizerSource, resolve
from img2img_jax.types import TokenIds

_REMEDY = "give the folder or hub id of a CLIP tokenizer by tokenizer=..."


def load_tokenizer(source: TokenizerSource) -> Any:
    """A CLIP tokenizer (transformers), from a folder or from the hub.

    Raises:
      CheckpointError: the folder has no vocabulary or a broken one; the hub cannot be reached.
    """
    try:
        folder = source.origin if isinstance(source.origin, Path) else resolve(source.origin, weights=False)
    except CheckpointError as error:
        raise CheckpointError(f"no tokenizer: {error}; {_REMEDY}") from error
    if not any((folder / name).is_file() for name in ("vocab.json", "tokenizer.json")):
        raise CheckpointError(
            f"no tokenizer in {folder}: expected vocab.json and merges.txt, or tokenizer.json; {_REMEDY}"
        )
    padding = {} if source.pad_token is None else {"pad_token": source.pad_token}
    try:
        return _tokenizer_class().from_pretrained(str(folder), **padding)
    except Exception as error:  # what the library raises for a broken file changes with its releases
        problem = f"{type(error).__name__}: {error}"
        raise CheckpointError(f"no usable tokenizer in {folder} ({problem}); {_REMEDY}") from error


@functools.cache
def _tokenizer_class() -> type:
    """transformers' tokenizer, with all tokens of an embedding of several vectors put for the first of them."""
    # transformers takes a second to import; the command's --help must not wait for it.
    import transformers

    class CLIPTokenizer(transformers.CLIPTokenizer):
        def __call__(self, text: str | Sequence[str], *args: Any, **kwargs: Any) -> Any:
            added = self.added_tokens_encoder
            texts = [text] if isinstance(text, str) else list(text)
            for token in added:
                if f"{token}_1" in added:
                    names = itertools.takewhile(added.__contains__, (f"{token}_{i}" for i in itertools.count(1)))
                    vectors = " ".join([token, *names])
                    texts = [re.sub(rf"{re.escape(token)}(?!_\d)", lambda _, v=vectors: v, t) for t in texts]
            return super().__call__(texts[0] if isinstance(text, str) else texts, *args, **kwargs)

    return CLIPTokenizer


def tokenize(tokenizer: Any, prompts: Sequence[str], length: int) -> TokenIds:
    """Ids of ``prompts``, padded or cut to ``length`` as Stable Diffusion does; what is cut is said in the log."""
    for prompt in prompts:
        needed = len(tokenizer(prompt, truncation=False, verbose=False).input_ids)
        if needed > length:
            logging.warning(
                "prompt has %d tokens, the text encoder takes %d; the end is cut: %r", needed, length, prompt
            )
    batch = tokenizer(list(prompts), padding="max_length", max_length=length, truncation=True)
    return np.asarray(batch.input_ids, np.int32)

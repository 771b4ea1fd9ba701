"""Prompts to token ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from img2img_jax.checkpoints import CheckpointError
from img2img_jax.types import TokenIds


def load_tokenizer(folder: str | Path) -> Any:
    """The checkpoint's CLIP tokenizer (transformers).

    Raises:
      CheckpointError: the folder has no vocabulary.
    """
    # transformers takes a second to import; the command's --help must not wait for it.
    from transformers import CLIPTokenizer

    folder = Path(folder)
    if not any((folder / name).is_file() for name in ("vocab.json", "tokenizer.json")):
        raise CheckpointError(f"no tokenizer in {folder}: expected vocab.json and merges.txt, or tokenizer.json")
    return CLIPTokenizer.from_pretrained(str(folder))


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

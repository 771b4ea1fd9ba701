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
from jaxtyping import Float, Int

from img2img_jax.checkpoints import CheckpointError, TokenizerSource, resolve
from img2img_jax.prompt_syntax import PROMPT_SYNTAXES, Token, chunk, parse
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
    """Ids of ``prompts``, padded or cut to ``length`` as Stable Diffusion does; the words cut off are logged."""
    for prompt in prompts:
        ids = tokenizer(prompt, truncation=False, verbose=False).input_ids
        if len(ids) > length:
            logging.warning(
                'prompt has %d tokens, the text encoder takes %d; the end is cut off: %r. prompt_syntax="a1111" reads '
                "all of it, in chunks",
                len(ids),
                length,
                tokenizer.decode(ids[length - 1 : -1]),
            )
    batch = tokenizer(list(prompts), padding="max_length", max_length=length, truncation=True)
    return np.asarray(batch.input_ids, np.int32)


def read_chunks(tokenizer: Any, prompt: str, length: int, syntax: str) -> list[list[Token]]:
    """One prompt as chunks of ids and weights, start, end and padding included: each chunk is ``length`` tokens.

    Args:
      syntax: "plain" takes the text literally and cuts it to one chunk (see ``tokenize``); "a1111" reads weights and
        BREAK and makes as many chunks as it takes (see ``prompt_syntax``).
    """
    if syntax == "plain":
        return [[(int(token), 1.0) for token in tokenize(tokenizer, [prompt], length)[0]]]

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids

    parts = [[(token, span.weight) for span in spans for token in ids(span.text)] for spans in parse(prompt)]
    comma = ids(",")
    chunks = chunk(parts, length - 2, comma[0] if len(comma) == 1 else None)
    return [_framed(tokenizer, tokens, length) for tokens in chunks]


def _framed(tokenizer: Any, tokens: Sequence[Token], length: int) -> list[Token]:
    padding = [(tokenizer.pad_token_id, 1.0)] * (length - 2 - len(tokens))
    return [(tokenizer.bos_token_id, 1.0), *tokens, (tokenizer.eos_token_id, 1.0), *padding]


def stack_chunks(
    tokenizer: Any, prompts: Sequence[Sequence[Sequence[Token]]], count: int
) -> tuple[Int[np.ndarray, "B C L"], Float[np.ndarray, "B C L"]]:
    """Ids and weights of prompts (from ``read_chunks``), each filled up to ``count`` chunks by empty ones."""
    empty = _framed(tokenizer, [], len(prompts[0][0]))
    filled = [[*chunks, *[empty] * (count - len(chunks))] for chunks in prompts]
    pairs = np.asarray(filled, np.float64)  # holds every id exactly
    return pairs[..., 0].astype(np.int32), pairs[..., 1].astype(np.float32)


def check_syntax(syntax: str) -> None:
    """Raises ValueError for a syntax that is not known."""
    if syntax not in PROMPT_SYNTAXES:
        raise ValueError(f"prompt_syntax={syntax!r} is not known; choose one of {', '.join(PROMPT_SYNTAXES)}")

"""Weights and chunks in prompts, in the syntax of AUTOMATIC1111's web UI.

This module knows text and token ids, no tokenizer and no text encoder: whatever encodes the chunks, be it one encoder
or two, multiplies its states by `emphasised`.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

PROMPT_SYNTAXES = ("plain", "a1111")

BRACKET_WEIGHT = 1.1
"""What a pair of round brackets multiplies by, and a pair of square ones divides by."""

COMMA_REACH = 20 / 75
"""How much of a full chunk may move to the next one so that the cut falls behind a comma."""

Token: TypeAlias = tuple[int, float]
"""A token's id and its weight."""

_SYMBOL = re.compile(
    r"""\\(?P<escaped>[()\[\]\\]?)              # a lone backslash vanishes
    | (?P<break>\s*\bBREAK\b\s*)
    | :\s*(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+))\s*\)
    | (?P<bracket>[()\[\]])""",
    re.VERBOSE,
)
# What the web UI reads too, and this module does not: better refused than drawn as words.
_UNREAD = {
    r"(?<!\\)<(?:lora|lyco|hypernet):[^<>]*>": "load networks into the pipeline instead",
    r"(?<!\\)\[[^\[\]|]*\|[^\[\]]*(?<!\\)\]": r"alternation is not implemented; write \[ for the bracket itself",
    r"(?<!\\)\[[^\[\]]*:\s*[\d.]+\s*\]": r"prompt editing is not implemented; write \[ for the bracket itself",
    r"\bAND\b": 'composition is not implemented; write "and" for the word itself',
}


@dataclasses.dataclass(frozen=True)
class Span:
    """A piece of a prompt and its weight."""

    text: str
    weight: float = 1.0


def parse(prompt: str) -> list[list[Span]]:
    r"""The parts of a prompt between its BREAKs, each as spans of one weight; markup removed.

    `(word:1.3)` multiplies by 1.3, `(word)` by 1.1, `[word]` by 1 / 1.1; brackets nest, and multiply. One that is not
    closed reaches to the end, one that was not opened is text, and so is `\(`, `\)`, `\[`, `\]` or `\\`. BREAK, in
    capitals, ends a chunk. Neighbours of equal weight are one span.

    Raises:
      ValueError: syntax of the web UI that is not read here (networks, alternation, prompt editing, AND), or brackets
        whose weight overflows.
    """
    for pattern, remedy in _UNREAD.items():
        if found := re.search(pattern, prompt):
            raise ValueError(f"prompt {prompt!r} contains {found[0]!r}: {remedy}")
    markup, end = _Markup(), 0
    for symbol in _SYMBOL.finditer(prompt):
        markup.add(prompt[end : symbol.start()])
        markup.read(symbol)
        end = symbol.end()
    markup.add(prompt[end:])
    return markup.parts(prompt)


class _Markup:
    """What was read so far: pieces of text (None for a BREAK) with weights, and where brackets opened."""

    def __init__(self):
        self.texts: list[str | None] = []
        self.weights: list[float] = []
        self.open: dict[str, list[int]] = {"(": [], "[": []}

    def add(self, text: str | None) -> None:
        self.texts.append(text)
        self.weights.append(1.0)

    def read(self, symbol: re.Match) -> None:
        bracket = symbol["bracket"]
        if symbol["escaped"] is not None:
            self.add(symbol["escaped"])
        elif symbol["break"]:
            self.add(None)
        elif symbol["weight"] and self.open["("]:
            self._close("(", float(symbol["weight"]))
        elif bracket in self.open:
            self.open[bracket].append(len(self.texts))
        elif bracket == ")" and self.open["("]:
            self._close("(", BRACKET_WEIGHT)
        elif bracket == "]" and self.open["["]:
            self._close("[", 1 / BRACKET_WEIGHT)
        else:
            self.add(symbol[0])

    def _close(self, bracket: str, factor: float) -> None:
        for index in range(self.open[bracket].pop(), len(self.weights)):
            self.weights[index] *= factor

    def parts(self, prompt: str) -> list[list[Span]]:
        for bracket, factor in (("(", BRACKET_WEIGHT), ("[", 1 / BRACKET_WEIGHT)):
            while self.open[bracket]:
                self._close(bracket, factor)
        parts: list[list[Span]] = [[]]
        for text, weight in zip(self.texts, self.weights, strict=True):
            if not math.isfinite(weight):
                raise ValueError(f"a weight in prompt {prompt!r} is too large; use fewer brackets or a smaller number")
            spans = parts[-1]
            if text is None:
                parts.append([])
            elif spans and spans[-1].weight == weight:
                spans[-1] = Span(spans[-1].text + text, weight)
            elif text:
                spans.append(Span(text, weight))
        return parts


def chunk(parts: Sequence[Sequence[Token]], size: int, comma: int | None = None) -> list[list[Token]]:
    """Tokens in chunks of at most `size`; the parts, between BREAKs, share none.

    Args:
      parts: ids and weights of a prompt, start and end tokens not among them.
      size: tokens a chunk holds: 75 for CLIP, whose 77 positions hold start and end as well.
      comma: the comma's id. A cut goes back to the last comma if it is near the end (20 tokens of 75).

    Returns:
      At least one chunk; an empty part is an empty chunk, but not at the end of a prompt.
    """
    chunks: list[list[Token]] = []
    for index, part in enumerate(parts, start=1):
        start = 0
        while len(part) - start > size:
            cut = _cut(part, start + size, int(COMMA_REACH * size), comma)
            chunks.append(list(part[start:cut]))
            start = cut
        if start < len(part) or index < len(parts) or not chunks:
            chunks.append(list(part[start:]))
    return chunks


def _cut(tokens: Sequence[Token], end: int, reach: int, comma: int | None) -> int:
    """Where a chunk that is full at `end` stops. A comma that would begin the next chunk is cut off like a word."""
    if tokens[end][0] != comma:
        for index in reversed(range(end - reach, end)):
            if tokens[index][0] == comma:
                return index + 1
    return end


def emphasised(states: Float[np.ndarray, "... L d"], weights: Float[np.ndarray, "... L"]) -> np.ndarray:
    """States times weights, rescaled so that each chunk's mean over tokens and features stays what it was.

    Where all weights are 1 the states come back bit for bit. The web UI takes the mean over the batch; here it is
    that of each chunk alone, so that no sample depends on another.
    """
    weighted = states * weights[..., None]
    before, after = (values.mean((-2, -1), keepdims=True) for values in (states, weighted))
    return weighted * np.divide(before, after, out=np.ones_like(before), where=after != 0)

"""Pictures of one thing in two styles: noise is added to the one, and the prompt asks for the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from img2img_jax.data.emoji import EmojiRecord

SAME_OUTLINE, OTHER_OUTLINE = (0.2, 0.9), (0.7, 0.9)
"""Shares of the time axis between which a picture becomes another one's. Where only shading, outline and colour change,
nearly all of it; where every line moves, the part in which noise leaves a picture's layout open. Slowly, since guidance
multiplies what a prompt changes: at a scale of 4, a quarter of the change is all of it."""
NO_RAMP = (0.0, 0.0)


def designer(record: EmojiRecord) -> str:
    """Whose drawing it is: Fluent Emoji's flat and 3d pictures, and drawings traced from them, have the same lines."""
    return record.source.removesuffix("-flat")


class Counterparts:
    """For every picture, those of the same thing in other styles."""

    def __init__(self, records: Sequence[EmojiRecord]):
        self.records = records
        by_concept: dict[str, list[int]] = {}
        for number, record in enumerate(records):
            by_concept.setdefault(record.concept, []).append(number)
        self.others = [[k for k in by_concept[r.concept] if records[k].style != r.style] for r in records]

    def draw(self, picture: int, rng: np.random.Generator) -> tuple[int, tuple[float, float]]:
        """One of them at random, and the shares of the time axis between which it becomes this one.

        A picture with no counterpart is its own, with no ramp. Draws from ``rng`` once, whatever the picture.
        """
        others, place = self.others[picture], rng.random()
        if not others:
            return picture, NO_RAMP
        other = others[int(place * len(others))]
        same = designer(self.records[other]) == designer(self.records[picture])
        return other, SAME_OUTLINE if same else OTHER_OUTLINE

"""Pictures of one thing in two styles: noise is added to the one, and the prompt asks for the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from img2img_jax.data.emoji import LINE_DRAWING, EmojiRecord

SAME_OUTLINE, OTHER_OUTLINE, FILLED_IN = (0.2, 0.9), (0.7, 0.9), (0.1, 0.7)
"""Shares of the time axis between which a picture becomes another one's. Where only shading, outline and colour change,
nearly all of it; where every line moves, the part in which noise leaves a picture's layout open; where a drawing is
filled in, sooner, since a drawing has no colours to keep. Slowly, since guidance multiplies what a prompt changes: at a
scale of 4, a quarter of the change is all of it."""
NO_RAMP = (0.0, 0.0)


def designer(record: EmojiRecord) -> str:
    """Whose drawing it is: Fluent Emoji's flat and 3d pictures, and drawings traced from them, have the same lines."""
    return record.source.removesuffix("-flat")


def ramp(start: EmojiRecord, wanted: EmojiRecord) -> tuple[float, float] | None:
    """Between which shares of the time axis ``start`` becomes ``wanted``; None where it is not to be learnt.

    That is in one style, and from the drawing of another designer: its lines would all have to go, and a drawing that
    is filled in should keep them.
    """
    same, drawing = designer(start) == designer(wanted), start.style == LINE_DRAWING
    if start.style == wanted.style or (drawing and not same):
        return None
    if drawing:
        return FILLED_IN
    return SAME_OUTLINE if same else OTHER_OUTLINE


class Counterparts:
    """For every picture, those of the same thing in other styles that it is asked for from."""

    def __init__(self, records: Sequence[EmojiRecord]):
        by_concept: dict[str, list[int]] = {}
        for number, record in enumerate(records):
            by_concept.setdefault(record.concept, []).append(number)
        self.others = []
        for wanted in records:
            ramps = {k: ramp(records[k], wanted) for k in by_concept[wanted.concept]}
            pictures, drawings = (
                [(k, found) for k, found in ramps.items() if found and (records[k].style == LINE_DRAWING) == drawing]
                for drawing in (False, True)
            )
            self.others.append([group for group in (pictures, drawings) if group])

    def draw(self, picture: int, rng: np.random.Generator) -> tuple[int, tuple[float, float]]:
        """One of them at random, and the shares of the time axis between which it becomes this one.

        Where there is a drawing, it is one half of the time. A picture with no counterpart is its own, with no ramp.
        Draws from ``rng`` twice, whatever the picture.
        """
        groups, (kind, place) = self.others[picture], rng.random(2)
        if not groups:
            return picture, NO_RAMP
        group = groups[int(kind * len(groups))]
        return group[int(place * len(group))]

"""Latents decoded in batches of one size, behind the slots that finished them."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator

import jax
import numpy as np

from img2img_jax import images
from img2img_jax.engine.ticket import Ticket


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Made:
    """What has become of a ticket.

    Attributes:
      latents, source_latents: float32 [h,w,c], of the result and of the picture; None if no network ran.
      picture: float32 [H,W,3] in 0..1; None until it is decoded.
    """

    ticket: Ticket
    latents: np.ndarray | None = None
    source_latents: np.ndarray | None = None
    picture: np.ndarray | None = None


class Decoder:
    """Gathers finished latents; the devices decode a batch while they go on with the slots."""

    def __init__(self, decode: Callable[[np.ndarray], jax.Array], size: int):
        """Takes ``decode``: latents [size, h, w, c] to pictures on the devices, -1..1, at once."""
        self._decode, self._size = decode, size
        self._waiting: list[Made] = []
        self._sent: deque[tuple[list[Made], jax.Array]] = deque()

    def add(self, made: Made) -> None:
        """Takes one sample; sends a batch off when it is full."""
        self._waiting.append(made)
        if len(self._waiting) == self._size:
            self.flush()

    def flush(self) -> None:
        """Sends off what is left, filled up."""
        if not self._waiting:
            return
        rows = [made.latents for made in self._waiting]
        self._sent.append((self._waiting, self._decode(np.stack(rows + rows[-1:] * (self._size - len(rows))))))
        self._waiting = []

    def results(self) -> Iterator[Made]:
        """Every sample that was sent off, with its picture, waiting for it."""
        while self._sent:
            batch, decoded = self._sent.popleft()
            for made, picture in zip(batch, images.to_unit(np.asarray(decoded)), strict=False):
                yield dataclasses.replace(made, picture=picture)

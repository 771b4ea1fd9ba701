"""Latents decoded in batches of one size, behind the slots that finished them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import jax
import numpy as np

from img2img_jax import images
from img2img_jax.engine.ticket import Ticket

Finished = tuple[Ticket, np.ndarray]


class Decoder:
    """Gathers finished latents; the devices decode a batch while they go on with the slots."""

    def __init__(self, decode: Callable[[np.ndarray], jax.Array], size: int):
        """Takes ``decode``: latents [size, h, w, c] to pictures on the devices, -1..1, at once."""
        self._decode, self._size = decode, size
        self._waiting: list[Finished] = []
        self._sent: deque[tuple[list[Finished], jax.Array]] = deque()

    def add(self, ticket: Ticket, latents: np.ndarray) -> None:
        """Takes one sample's latents [h, w, c]; sends a batch off when it is full."""
        self._waiting.append((ticket, latents))
        if len(self._waiting) == self._size:
            self.flush()

    def flush(self) -> None:
        """Sends off what is left, filled up."""
        if not self._waiting:
            return
        rows = [latents for _, latents in self._waiting]
        self._sent.append((self._waiting, self._decode(np.stack(rows + rows[-1:] * (self._size - len(rows))))))
        self._waiting = []

    def results(self) -> Iterator[tuple[Ticket, np.ndarray, np.ndarray]]:
        """Ticket, latents and picture (float32 [H,W,3], 0..1) of every sample that was sent off, waiting for it."""
        while self._sent:
            batch, decoded = self._sent.popleft()
            for (ticket, latents), picture in zip(batch, images.to_unit(np.asarray(decoded)), strict=False):
                yield ticket, latents, picture

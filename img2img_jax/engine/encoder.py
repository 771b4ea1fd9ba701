"""Pictures encoded in batches of one size, ahead of the slots that will want them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import jax
import numpy as np

from img2img_jax import images
from img2img_jax.engine.ticket import Ticket
from img2img_jax.programs import Posterior

AHEAD = 2
"""Batches that are sent to the devices before the one that is wanted: the host then never waits for the last."""


class Encoder:
    """Encodes each distinct picture of some tickets once, and keeps it until its last ticket has come."""

    def __init__(
        self, encode: Callable[[np.ndarray], Posterior], tickets: Sequence[Ticket], size: int, ahead: int = AHEAD
    ):
        """Takes the tickets in the order in which they will come.

        Args:
          encode: pictures [size, H, W, 3], -1..1, to arrays on the devices, at once.
          size: of a batch.
        """
        first = {}
        for ticket in tickets:
            first.setdefault(ticket.picture, ticket)
        self._encode, self._size, self._ahead = encode, size, ahead
        self._pictures = list(first.values())
        self._batch = {picture: place // size for place, picture in enumerate(first)}
        self._left = Counter(ticket.picture for ticket in tickets)
        self._sent: list[Posterior | None] = []
        self._here: dict[bytes, Posterior] = {}

    def __len__(self) -> int:
        """Distinct pictures."""
        return len(self._pictures)

    def __call__(self, ticket: Ticket) -> Posterior:
        """[h, w, c] each, on the host."""
        number = self._batch[ticket.picture]
        while len(self._sent) <= min(number + self._ahead, (len(self._pictures) - 1) // self._size):
            self._send()
        if ticket.picture not in self._here:
            self._fetch(number)
        self._left[ticket.picture] -= 1
        return self._here[ticket.picture] if self._left[ticket.picture] else self._here.pop(ticket.picture)

    def _batch_of(self, number: int) -> list[Ticket]:
        return self._pictures[number * self._size : (number + 1) * self._size]

    def _send(self) -> None:
        pixels = [images.to_model(ticket.pixels) for ticket in self._batch_of(len(self._sent))]
        self._sent.append(self._encode(np.stack(pixels + pixels[-1:] * (self._size - len(pixels)))))

    def _fetch(self, number: int) -> None:
        rows = jax.tree.map(np.asarray, self._sent[number])
        self._sent[number] = None
        for place, ticket in enumerate(self._batch_of(number)):
            # A copy, or one picture would keep the memory of its whole batch.
            self._here[ticket.picture] = jax.tree.map(lambda leaf, place=place: leaf[place].copy(), rows)

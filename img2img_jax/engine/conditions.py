"""What the UNet is told of many jobs, each distinct condition and text once."""

from __future__ import annotations

from collections.abc import Sequence

import jax

from img2img_jax.conditioning import Condition, Conditioner
from img2img_jax.engine.ticket import Ticket


def read_conditions(conditioner: Conditioner, tickets: Sequence[Ticket], size: int) -> dict[tuple, Condition]:
    """Conditions by ``Ticket.condition``: arrays [1|2, ...], without a batch.

    Args:
      conditioner: one that remembers texts, or those of the negative prompts are read once a batch.
      tickets: of one executable.
      size: of the batches in which texts are read, filled up, so that no text's bits depend on how many there are.
    """
    waiting: dict[tuple, dict[tuple, Ticket]] = {}
    for ticket in tickets:
        together = (ticket.reading, frozenset(ticket.told), _kinds(ticket))
        waiting.setdefault(together, {}).setdefault(ticket.condition, ticket)
    conditions = {}
    for distinct in waiting.values():
        keys = list(distinct)
        for begin in range(0, len(keys), size):
            batch = keys[begin : begin + size]
            rows = _read(conditioner, [distinct[key] for key in batch], size)
            for place, key in enumerate(batch):
                conditions[key] = jax.tree.map(lambda leaf, place=place: leaf[place], rows)
    return conditions


def _kinds(ticket: Ticket) -> tuple[type, ...]:
    """Texts and states given in their place do not go into one batch."""
    return tuple(type(ticket.told[name][0]) for name in ("prompt", "negative_prompt"))


def _read(conditioner: Conditioner, tickets: Sequence[Ticket], size: int) -> Condition:
    padded = [*tickets, *[tickets[-1]] * (size - len(tickets))]
    columns = {name: [ticket.told[name][0] for ticket in padded] for name in tickets[0].told}
    guided, prompt_syntax, clip_skip, _ = tickets[0].reading
    return conditioner(columns, tickets[0].size, guided=guided, prompt_syntax=prompt_syntax, clip_skip=clip_skip)

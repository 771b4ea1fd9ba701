"""Which sample is in which slot when: known before anything runs, since every sample's number of rows is."""

from __future__ import annotations

import dataclasses
import heapq
from collections import defaultdict
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, kw_only=True)
class Move:
    """What happens to one slot between two chunks of rows.

    Attributes:
      device, slot: where.
      leaving: the job that is done there, or None for an empty slot.
      entering: the job that begins there, or None for none.
    """

    device: int
    slot: int
    leaving: int | None
    entering: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Round:
    """Moves, then a chunk of rows.

    Attributes:
      swaps: lists of moves; each has at most one move per device.
      rows: how many rows every slot of every device then takes; 0 in the last round.
    """

    swaps: Sequence[Sequence[Move]]
    rows: int


def timetable(lengths: Sequence[int], *, devices: int, slots: int) -> list[Round]:
    """Deals jobs to slots, the longest first (Graham 1969): each to the slot that is free the earliest.

    A chunk ends where the next slot is done, so that none stands idle before the jobs run out; since the shortest jobs
    come last, all slots then end close together.

    Args:
      lengths: rows of each job, 1 or more.
      devices: that run side by side, each through the same number of rows.
      slots: per device.
    """
    free = [(0, slot, device) for slot in range(slots) for device in range(devices)]
    occupant: dict[tuple[int, int], int] = {}
    moves: dict[int, list[Move]] = defaultdict(list)

    def move(time: int, slot: int, device: int, entering: int | None) -> None:
        leaving = occupant.pop((device, slot), None)
        if leaving is not None or entering is not None:
            moves[time].append(Move(device=device, slot=slot, leaving=leaving, entering=entering))

    for job in sorted(range(len(lengths)), key=lambda job: (-lengths[job], job)):
        time, slot, device = heapq.heappop(free)
        move(time, slot, device, job)
        occupant[device, slot] = job
        heapq.heappush(free, (time + lengths[job], slot, device))
    for end in sorted(free):
        move(*end, None)
    times = sorted(moves)
    return [
        Round(swaps=_swaps(moves[time]), rows=end - time)
        for time, end in zip(times, [*times[1:], *times[-1:]], strict=True)
    ]


def _swaps(moves: Sequence[Move]) -> list[list[Move]]:
    """The moves of a moment, one per device at a time."""
    swaps: list[list[Move]] = []
    taken: dict[int, int] = defaultdict(int)
    for each in moves:
        if taken[each.device] == len(swaps):
            swaps.append([])
        swaps[taken[each.device]].append(each)
        taken[each.device] += 1
    return swaps

"""Jobs dealt to slots: every one once, without a gap, and hardly any slot idle."""

import random

import pytest

from img2img_jax.engine.timetable import timetable

SWEEP = [5, 10, 15, 20, 25, 30, 35, 40, 45, 50]


def follow(rounds, devices, slots):
    """Carries a timetable out on paper: rows that each job got, and rows executed."""
    there, got, time = {}, {}, 0
    for each in rounds:
        for swap in each.swaps:
            assert len({move.device for move in swap}) == len(swap)
            for move in swap:
                place = move.device, move.slot
                assert move.device < devices and move.slot < slots
                assert there.pop(place, None) == move.leaving
                if move.entering is not None:
                    assert move.entering not in got
                    there[place], got[move.entering] = move.entering, 0
        for job in there.values():
            got[job] += each.rows
        time += each.rows
    assert not there
    return got, time


@pytest.mark.parametrize("devices", [1, 2, 8])
@pytest.mark.parametrize("count", [1, 3, 17, 160])
def test_every_job_gets_its_rows_and_no_more(devices, count):
    lengths = [random.Random(count).choice([0, *SWEEP]) for _ in range(count)]
    got, time = follow(timetable(lengths, devices=devices, slots=4), devices, 4)
    assert [got[job] for job in range(count)] == lengths
    assert time >= max(lengths)


def test_a_chunk_ends_where_a_sample_is_done():
    rounds = timetable([3, 7, 5], devices=1, slots=2)
    assert [each.rows for each in rounds] == [5, 2, 1, 0] or [each.rows for each in rounds] == [5, 2, 1]
    assert all(any(move.leaving is not None for swap in each.swaps for move in swap) for each in rounds[1:])


@pytest.mark.parametrize(("devices", "images"), [(1, 4), (1, 16), (2, 8), (8, 32)])
def test_a_sweep_over_strengths_uses_95_percent_of_the_slots(devices, images):
    """Counted: 0.1 ... 1.0 of 50 steps, 8 slots a device. Batches that wait for their longest reach 55 to 60 %."""
    lengths = random.Random(0).sample(SWEEP * images, 10 * images)
    _, time = follow(timetable(lengths, devices=devices, slots=8), devices, 8)
    assert sum(lengths) / (8 * devices * time) >= 0.95
    batches = [lengths[first : first + 8] for first in range(0, len(lengths), 8)]
    assert sum(lengths) / sum(8 * max(batch) for batch in batches) < 0.65


def test_no_jobs_take_no_time():
    assert timetable([], devices=2, slots=2) == []

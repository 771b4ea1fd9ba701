"""Comparisons: who agrees is timed in turn, and the ratio is that of each round."""

import json

import numpy as np
import pytest

from img2img_jax.benchmarks import comparison
from img2img_jax.benchmarks.comparison import Comparison, Disagreement, compare, markdown, timed


def works(monkeypatch, seconds, difference=0.0):
    """Two works on a clock of their own, which take ``seconds`` of it each, and the order they are done in."""
    now, order = [0.0], []
    monkeypatch.setitem(comparison.CLOCKS, "wall", lambda: now[0])

    def work(name, value):
        def call():
            order.append(name)
            now[0] += seconds[name]
            return np.full(3, value)

        return call

    return work("ours", 1 + difference), work("theirs", 1.0), order


def test_rounds_take_turns_at_going_first(monkeypatch):
    ours, theirs, order = works(monkeypatch, {"ours": 2.0, "theirs": 3.0})
    found = compare("work", "torch", ours, theirs, rounds=2, bound=1e-3)
    assert order == ["ours", "theirs"] + ["ours", "theirs", "theirs", "ours"]
    assert found.ours == (2, 2) and found.peer_took == (3, 3)
    np.testing.assert_allclose(found.ratios, 1.5)


def test_results_must_agree(monkeypatch):
    ours, theirs, order = works(monkeypatch, {"ours": 1.0, "theirs": 1.0}, difference=0.01)
    with pytest.raises(Disagreement, match="1.0e-02"):
        compare("work", "torch", ours, theirs, rounds=2, bound=1e-3)
    assert len(order) == 2  # none was timed
    assert compare("work", "torch", ours, theirs, rounds=1, bound=0.1).agreement == pytest.approx(0.01)


def test_nan_agrees_with_nothing(monkeypatch):
    ours, theirs, _ = works(monkeypatch, {"ours": 1.0, "theirs": 1.0}, difference=np.nan)
    with pytest.raises(Disagreement):
        compare("work", "torch", ours, theirs, rounds=1, bound=1e-3)


def test_a_clock_may_be_given():
    assert timed(lambda: "result", iter([1.0, 3.5]).__next__) == (2.5, "result")


def test_record_and_table():
    made = Comparison(work="step", peer="torch", ours=(1.0, 2.0, 4.0), peer_took=(3.0, 2.0, 8.0), agreement=2e-6)
    record = json.loads(json.dumps(made.record()))
    assert record["ratio"] == {"median": 2.0, "min": 1.0, "max": 3.0}
    assert (record["ours_s"], record["peer_s"], record["agreement"]) == (2.0, 3.0, 2e-6)
    rows = markdown([made]).splitlines()
    assert rows[2] == "| step | torch | 2 s | 3 s | 2.00 (1.00 to 3.00) | 2e-06 |"
    assert {row.count("|") for row in rows} == {7}

"""summary.csv has a line for each metric of each cell, and KID and CMMD of sets."""

import csv

import numpy as np
import pytest

from img2img_jax.lab.summary import set_lines, write_summary


def read(folder):
    with (folder / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_cell_and_line(results):
    write_summary(results)
    rows = read(results.folder)
    assert len(rows) == 2 * 3 * 2 + 2
    [middle] = [r for r in rows if (r["group"], r["strength"], r["metric"]) == ("b", "0.5", "l1")]
    assert [float(middle[name]) for name in ("mean", "low", "high", "log_snr")] == pytest.approx([0.3, 0.25, 0.35, 0])
    assert (middle["finite"], middle["count"], middle["network_evaluations"]) == ("2", "2", "8.0")
    [perfect] = [r for r in rows if (r["group"], r["strength"], r["metric"]) == ("a", "0.0", "psnr")]
    assert (perfect["mean"], perfect["finite"], perfect["low"]) == ("inf", "0", "")
    assert [float(r["mean"]) for r in rows if r["reference"] == "VAE round trip"] == [0.05, 30]


def test_the_same_run_gives_the_same_bytes(results):
    write_summary(results)
    before = (results.folder / "summary.csv").read_bytes()
    write_summary(results)
    assert (results.folder / "summary.csv").read_bytes() == before


def test_sets_are_compared_with_the_references(results):
    calls = []

    def features(pictures):
        calls.append(len(pictures))
        angle = pictures.mean((1, 2, 3))
        return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)

    references = [np.full((4, 4, 3), value, np.float32) for value in (0.9, 1.0, 0.95)]
    lines = set_lines(results, features, references)
    kid = {line["strength"]: line["mean"] for line in lines if line["metric"] == "kid" and line["group"] == "a"}
    assert kid[0.0] > kid[0.5] > kid[1.0]  # outputs grow as bright as the references
    assert {line["metric"] for line in lines} == {"kid", "cmmd"} and {line["count"] for line in lines} == {2}
    assert len(set(calls)) == 1  # one compilation

"""Rows are sorted out, and means are of the rows that were asked for."""

import math

import pytest

from img2img_jax.lab import Results, interval


def test_rows_are_sorted_out(results):
    assert (len(results.rows), len(results.references), len(results.failures)) == (12, 1, 1)
    assert results.metrics == ["l1", "psnr"] and results.varying == ["group"]
    assert results.rows[0]["psnr"] == results.rows[0]["log_snr"] == math.inf
    assert results.distinct("strength") == [0, 0.5, 1] and results.distinct("group") == ["a", "b"]


def test_curves_have_means_and_intervals(results):
    (s0, m0), (s1, m1), (s2, m2) = results.curve("l1", group="a")
    assert (s0, s1, s2) == (0, 0.5, 1)
    assert (m0.mean, m1.mean, m2.mean) == pytest.approx((0.05, 0.3, 0.55))
    assert (m1.low, m1.high) == pytest.approx((0.25, 0.35))
    assert [x for x, _ in results.curve("l1", "log_snr")] == [-2, 0]  # strength 0 has no finite one
    assert [s for s, _ in results.curve("psnr")] == [0.5, 1]  # and its PSNR no finite mean


def test_lines_and_empty_cells(results):
    assert results.lines("l1")["VAE round trip"].mean == 0.05
    assert interval("ssim", results.rows) is None and results.where(strength=0.3) == []


def test_an_unfinished_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no finished run"):
        Results.read(tmp_path)

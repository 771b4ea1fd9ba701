"""Curves are means with intervals over what was varied, and nothing else."""

import itertools

import numpy as np
import pytest

from img2img_jax.metrics import bootstrap_mean
from img2img_jax.reports.curves import settings_label, strength_curves, varying_settings


def make_rows(**knobs):
    """The product of images, seeds, strengths and ``knobs``; the metric is a function of them all."""
    rows = []
    lists = {"image": ["a", "b", "c"], "seed": [0, 1], "strength": [0.8, 0.0, 0.4], **knobs}
    for values in itertools.product(*lists.values()):
        row = dict(zip(lists, values, strict=True))
        l1 = row["strength"] + 0.1 * "abc".index(row["image"]) + 0.01 * row["seed"]
        psnr = "inf" if row["strength"] == 0 or row["image"] == "c" else 20 - l1
        rows.append({**row, "metrics": {"l1": l1, "psnr": psnr}, "start": {"log_snr": 5 - 10 * row["strength"]}})
    return rows


def test_points_are_means_over_images_and_seeds():
    rows = make_rows()
    curve = strength_curves(rows)[0]
    assert [point.strength for point in curve.points] == [0.0, 0.4, 0.8]
    assert [point.log_snr for point in curve.points] == [5.0, 1.0, -3.0]
    members = [row for row in rows if row["strength"] == 0.4]
    images, seeds = ([row[name] for row in members] for name in ("image", "seed"))
    assert curve.points[1].interval == bootstrap_mean([row["metrics"]["l1"] for row in members], images, seeds)
    assert curve.points[1].interval.mean == pytest.approx(0.4 + 0.1 + 0.005)
    assert curve.rank_correlation == pytest.approx(1)


def test_infinite_values_are_left_out_and_counted():
    [curve] = [curve for curve in strength_curves(make_rows()) if curve.metric == "psnr"]
    assert [(point.finite, point.count) for point in curve.points] == [(0, 6), (4, 6), (4, 6)]
    assert curve.points[0].interval is None
    assert np.isfinite(curve.points[1].interval).all()
    assert curve.rank_correlation == pytest.approx(-1)


def test_every_settings_has_a_curve():
    curves = strength_curves(make_rows(scheduler=["ddim", None], guidance_scale=[1, 4]))
    assert [curve.settings for curve in curves if curve.metric == "l1"] == [
        "guidance 1, ddim",
        "guidance 4, ddim",
        "guidance 1, checkpoint's sampler",
        "guidance 4, checkpoint's sampler",
    ]


def test_every_group_of_inputs_has_a_curve():
    rows = [row | {"group": f"kind {row['image']}"} for row in make_rows()]
    curves = [curve.settings for curve in strength_curves(rows) if curve.metric == "l1"]
    assert curves == list(dict.fromkeys(row["group"] for row in rows)) and len(curves) > 1


def test_what_follows_from_other_knobs_does_not_split_curves():
    """Steps chosen by mode and strength, negative prompts that belong to inputs."""
    rows = [
        row
        | {
            "num_inference_steps": round(20 * (1 + row["strength"] * (row["strength_mode"] == "exact"))),
            "negative_prompt": row["image"],
        }
        for row in make_rows(strength_mode=["exact", "continuous"])
    ]
    assert varying_settings(rows) == ["strength_mode"]
    assert settings_label(rows[0], ["strength_mode"]) == "exact"
    assert varying_settings(make_rows(num_inference_steps=[4, 8])) == ["num_inference_steps"]
    assert varying_settings(make_rows()) == []


def test_rows_without_metrics_have_no_curves():
    rows = [{"image": "a", "seed": 0, "strength": 0.5}]
    assert strength_curves(rows) == []
    [flat] = strength_curves([row | {"metrics": {"l1": 1.0}} for row in rows])
    assert (flat.rank_correlation, flat.points[0].log_snr) == (None, None)

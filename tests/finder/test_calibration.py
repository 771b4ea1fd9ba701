"""The laws of a calibration: it rises, it can be turned round, and it finds what is known in closed form."""

import dataclasses
import json
import math
import os
import runpy
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from hypothesis import given, settings
from hypothesis import strategies as st

from img2img_jax.finder.calibration import ROUND_TRIP, TEXT_TO_IMAGE, Calibration

SCRIPT = Path(__file__).parents[2] / "scripts" / "calibrate.py"
GRID = [0.1, 0.25, 0.4, 0.6, 0.8, 0.95]


def rows_of(values, low=0.9, high=0.2, **knobs):
    """Rows of an SSIM that falls from ``low`` to ``high`` by the changes ``values``, by strength."""
    rows = [{"strength": s, "metrics": {"ssim": low + c * (high - low)}, **knobs} for s, c in values]
    ends = [(ROUND_TRIP, low), (TEXT_TO_IMAGE, high)]
    return rows + [{"reference": name, "strength": 1, "metrics": {"ssim": end}} for name, end in ends]


def test_knots_are_the_means_where_these_rise():
    fitted = Calibration.fit(rows_of([(s, s**2) for s in GRID]), "ssim")
    assert fitted.strengths == (0, *GRID, 1)
    assert fitted.changes == pytest.approx([0, *np.square(GRID), 1])
    assert (fitted.deviation, fitted.count) == (pytest.approx(0, abs=1e-12), 6)
    assert (fitted.round_trip, fitted.text_to_image) == (0.9, 0.2)


def test_a_straight_line_is_met_everywhere():
    fitted = Calibration.fit(rows_of([(s, s) for s in GRID]), "ssim")
    for strength in np.linspace(0, 1, 23):
        assert fitted.change_at(strength) == pytest.approx(strength, abs=1e-12)
        assert fitted.strength_for(strength) == pytest.approx(strength, abs=1e-9)


def test_a_smooth_curve_is_met_between_the_strengths_of_the_run():
    """Of an analytic Gaussian: the share of noise in the variance at a cosine schedule's time, sin^2."""
    truth = lambda s: math.sin(math.pi * s / 2) ** 2  # noqa: E731
    fitted = Calibration.fit(rows_of([(s, truth(s)) for s in np.linspace(0.05, 0.95, 19)]), "ssim")
    for strength in np.linspace(0, 1, 41):
        assert fitted.change_at(strength) == pytest.approx(truth(strength), abs=1e-3)


changes = st.lists(st.floats(-0.5, 1.5), min_size=1, max_size=8)


@settings(deadline=None, max_examples=60)
@given(changes)
def test_it_rises_and_can_be_turned_round(values):
    fitted = Calibration.fit(rows_of(zip(np.linspace(0.1, 0.9, len(values)), values, strict=True)), "ssim")
    strengths = np.linspace(0, 1, 17)
    found = [fitted.change_at(strength) for strength in strengths]
    assert (found[0], found[-1]) == (0, 1)
    assert (np.diff(found) >= -1e-15).all()
    for change in np.linspace(0, 1, 9):
        assert fitted.change_at(fitted.strength_for(change)) == pytest.approx(change, abs=1e-6)


def test_means_that_fall_are_pooled_by_the_number_of_their_rows():
    rows = rows_of([(0.2, 0.1), (0.4, 0.6), (0.4, 0.6), (0.4, 0.6), (0.6, 0.2), (0.8, 0.9)])
    fitted = Calibration.fit(rows, "ssim")
    assert fitted.strengths == pytest.approx((0, 0.2, 0.45, 0.8, 1))
    assert fitted.changes == pytest.approx((0, 0.1, 0.5, 0.9, 1))
    assert fitted.deviation > 0.2


def test_changes_beyond_an_end_are_put_there():
    fitted = Calibration.fit(rows_of([(0.1, -0.1), (0.2, -0.02), (0.5, 0.5), (0.8, 1.1), (0.9, 1.04)]), "ssim")
    assert fitted.strengths == (0, 0.1, 0.2, 0.5, 0.8, 1)
    assert fitted.changes == pytest.approx((0, 0, 0, 0.5, 1, 1))
    assert (fitted.strength_for(0), fitted.strength_for(1)) == (0, 0.8)
    assert (fitted.change_at(0.15), fitted.change_at(0.95)) == (0, 1)
    assert fitted.deviation == pytest.approx(0.1)


def test_rising_and_falling_metrics_give_the_same_map():
    values = [(s, s**3) for s in GRID]
    falling, rising = (Calibration.fit(rows_of(values, *ends), "ssim") for ends in ((0.9, 0.2), (0.1, 3.0)))
    assert rising.changes == pytest.approx(falling.changes)


def test_strength_1_stands_in_for_text_to_image_and_0_has_no_say():
    rows = [{"strength": s, "metrics": {"l1": s / 2}} for s in (0, 0.5, 1)] + [{"error": "torn"}]
    fitted = Calibration.fit(rows, "l1", round_trip=0.1)
    assert fitted.text_to_image == 0.5
    assert fitted.changes == pytest.approx((0, (0.25 - 0.1) / 0.4, 1))
    rows[0]["metrics"]["l1"] = 7
    assert Calibration.fit(rows, "l1", round_trip=0.1) == fitted
    assert Calibration.fit(rows, "l1", round_trip=0.1, text_to_image=0.6).text_to_image == 0.6


def test_strength_1_that_began_from_the_picture_does_not_stand_in():
    rows = [{"strength": s, "metrics": {"l1": s / 2}} for s in (0, 0.5)]
    leak, pure = ({"strength": 1, "metrics": {"l1": l1}, "start": {"pure": l1 == 0.6}} for l1 in (0.4, 0.6))
    assert Calibration.fit([*rows, leak, pure], "l1", round_trip=0.1).text_to_image == 0.6
    with pytest.raises(ValueError, match="no finite l1 of the text-to-image .* or give text_to_image"):
        Calibration.fit([*rows, leak], "l1", round_trip=0.1)


def test_infinite_values_are_passed_over():
    rows = rows_of([(0.5, 0.5)])
    infinite = {"strength": 0.5, "metrics": {"ssim": "inf"}}
    assert Calibration.fit([*rows, infinite], "ssim") == Calibration.fit(rows, "ssim")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (rows_of([(0.5, 0.5)])[:1] + rows_of([])[1:], "no finite ssim of the VAE round trip .* or give round_trip"),
        (rows_of([(0.5, 0.5)])[:2], "no finite ssim of the text-to-image .* or give text_to_image"),
        (rows_of([(0.5, 0.5)], low=0.2), "ssim is 0.2 at both ends"),
        (rows_of([(0, 0.5), (1, 0.5)]), "no row has a finite ssim at a strength between 0 and 1"),
        (
            rows_of([(0.5, 0.5)], scheduler="ddim") + rows_of([(0.5, 0.4)], scheduler=None),
            "rows are of scheduler ddim, None; fit a calibration to each",
        ),
    ],
)
def test_rows_that_do_not_suffice(rows, message):
    with pytest.raises(ValueError, match=message):
        Calibration.fit(rows, "ssim")


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_out_of_range(value):
    fitted = Calibration.fit(rows_of([(0.5, 0.5)]), "ssim")
    with pytest.raises(ValueError, match="strength .* is not in 0 to 1"):
        fitted.change_at(value)
    with pytest.raises(ValueError, match="change .* is not in 0 to 1"):
        fitted.strength_for(value)


def test_what_is_typed_is_short_and_never_0():
    fitted = Calibration.fit(rows_of([(1 / 3, 0.5)]), "ssim")
    assert (fitted.typed(0), fitted.typed(0.5), fitted.typed(1)) == (0.0001, 0.3333, 1)


def test_it_knows_what_it_was_made_with():
    rows = rows_of([(0.5, 0.5)], scheduler="ddim", guidance_scale=4.0, negative_prompt="a")
    rows += rows_of([(0.5, 0.5)], scheduler="ddim", guidance_scale=4.0, negative_prompt="b")
    fitted = Calibration.fit(rows, "ssim", weights_sha256="12")
    assert fitted.made_with == {"scheduler": "ddim", "guidance_scale": 4.0, "weights_sha256": "12"}
    assert fitted.differences({"scheduler": "ddim", "guidance_scale": 4, "other": 1}) == []
    assert fitted.differences({"scheduler": None, "weights_sha256": "34"}) == [
        "scheduler was ddim, is None",
        "weights_sha256 was 12, is 34",
    ]


def test_files_bring_it_back_and_are_whole_or_not_there(tmp_path, monkeypatch):
    fitted = Calibration.fit(rows_of([(s, s**2) for s in GRID], scheduler=None), "ssim")
    path = tmp_path / "ssim.json"
    fitted.save(path)
    assert Calibration.load(path) == fitted
    before = path.read_bytes()

    def refuse(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        dataclasses.replace(fitted, count=1).save(path)
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (before, [path])


def test_the_script_fits_the_chosen_rows_of_a_run(tmp_path, capsys):
    rows = rows_of([(s, s) for s in GRID], scheduler="ddim") + rows_of([(0.5, 0.9)], scheduler="euler")[:1]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "config.json").write_text('{"provenance": {"weights_sha256": "12"}}')
    main, arguments = runpy.run_path(str(SCRIPT))["main"], ["calibrate", f"--workdir={tmp_path}"]
    arguments.append(f"--output={tmp_path / 'ssim.json'}")
    try:
        flags.FLAGS(arguments)
        with pytest.raises(SystemExit, match="calibrate: the rows are of scheduler ddim, euler"):
            main(["calibrate"])
        flags.FLAGS([*arguments, "--where=scheduler=ddim"])
        main(["calibrate"])
    finally:
        for name in ("workdir", "metric", "output", "where", "round_trip"):
            delattr(flags.FLAGS, name)
    assert "change 0.4: strength 0.4\n" in capsys.readouterr().out
    fitted = Calibration.load(tmp_path / "ssim.json")
    assert (fitted.count, fitted.made_with) == (6, {"scheduler": "ddim", "weights_sha256": "12"})


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"strengths": [0, 1]},
        {"strengths": [0, 0.4, 0.4, 1]},
        {"strengths": None},
        {"changes": [0, 0.6, 0.5, 1]},
        {"changes": [0, 0.5, 0.5, 1]},
        {"changes": [0, 0.5, 0.6, 0.9]},
        {"more": 1},
    ],
)
def test_files_that_are_no_calibration(tmp_path, change):
    path = tmp_path / "ssim.json"
    Calibration.fit(rows_of([(0.4, 0.5), (0.6, 0.7)]), "ssim").save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=r"ssim.json: no calibration that can be read .* fit it again"):
        Calibration.load(path)
    with pytest.raises(ValueError, match="no such calibration; check the path"):
        Calibration.load(tmp_path / "none.json")

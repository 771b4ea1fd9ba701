"""What the page's script gets says all that the rows say, once."""

import runpy
from pathlib import Path
from types import SimpleNamespace

from img2img_jax.reports.curves import strength_curves
from img2img_jax.reports.page_data import flat, label, page_data, shared_values
from img2img_jax.reports.run_files import read_run
from img2img_jax.reports.series import embed, make_series

HELPERS = SimpleNamespace(**runpy.run_path(Path(__file__).parent / "conftest.py"))


def data_of(workdir):
    run = read_run(workdir)
    series = embed(workdir, make_series(run.samples), page_bytes=10**9, max_side=64)
    return run, page_data(run, strength_curves(run.samples), series)


def test_shared_and_own_parameters_make_the_row(workdir):
    run, data = data_of(workdir)
    samples = [sample for one in data["series"] for sample in one["samples"]]
    rows = {row["trial"]: row for row in run.samples}
    assert len(samples) == len(rows)
    for sample in samples:
        whole = {**data["shared"], **sample["parameters"]}
        assert whole == flat(rows[whole["trial"]])
        assert not set(data["shared"]) & set(sample["parameters"])
    assert data["shared"]["num_inference_steps"] == 50


def test_values_and_pictures_belong_to_their_strength(workdir):
    run, data = data_of(workdir)
    assert [metric["label"] for metric in data["metrics"]] == ["L1", "PSNR"]
    one = data["series"][0]
    assert [sample["strength"] for sample in one["samples"]] == [0, 0.4, 0.7, 1]
    assert one["samples"][0]["values"] == [0.0, "inf"]
    assert one["samples"][0]["picture"] == one["source"]  # strength 0 is the input: kept once
    assert len(data["pictures"]) == len(set(data["pictures"])) == 35


def test_references_are_means_per_line(workdir, tmp_path):
    rows = HELPERS.rows_of(workdir)
    ends = [row for row in rows if row.get("strength") == 1]
    HELPERS.write_rows(tmp_path / "run", rows + [{**row, "reference": "text_to_image"} for row in ends])
    _, data = data_of(tmp_path / "run")
    [line] = data["references"]
    assert line["label"] == "text to image"
    assert line["means"][0] == sum(row["metrics"]["l1"] for row in ends) / len(ends)


def test_names_for_people():
    assert [label(name) for name in ("ms_ssim", "edge_f1", "clip_text")] == ["MS SSIM", "edge F1", "CLIP text"]


def test_a_field_that_one_row_lacks_is_not_shared():
    assert shared_values([{"a": 1, "b": {"c": 2}}, {"a": 1}]) == {"a": 1}
    assert shared_values([]) == {}

"""Whatever a work directory lacks, what is there is read."""

import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from img2img_jax.reports.run_files import metric_names, number, read_run

HELPERS = SimpleNamespace(**runpy.run_path(Path(__file__).parent / "conftest.py"))


def test_rows_are_sorted_out(workdir, tmp_path):
    rows = HELPERS.rows_of(workdir)
    HELPERS.write_rows(tmp_path / "copy", [*rows, {**rows[0], "reference": "VAE round trip"}])
    found = read_run(tmp_path / "copy")
    assert (len(found.samples), len(found.failures), len(found.references)) == (40, 3, 1)
    assert found.config == found.manifest == {}
    assert metric_names(found.samples) == ["l1", "psnr"]


def test_a_run_that_died_is_read_from_its_batches(workdir, tmp_path):
    copy = shutil.copytree(workdir, tmp_path / "copy")
    assert read_run(copy).missing == 0
    (copy / "rows.jsonl").unlink()
    (copy / "rows" / "000003.jsonl").unlink()
    found = read_run(copy)
    assert (len(found.samples), found.missing) == (36, 4)
    assert found.config["trials"] == 40


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no rows of a run .*name the run's work directory"):
        read_run(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"strength": 0.5}\n{"strength":')
    with pytest.raises(ValueError, match="line 2 is no JSON object"):
        read_run(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"index": 7}\n')
    with pytest.raises(ValueError, match="row 7 has no strength"):
        read_run(tmp_path)


def test_numbers_of_rows():
    assert number("-inf") == float("-inf")
    assert [number(value) == number(value) for value in (None, "none", "nan")] == [False] * 3

"""The scaling study: its table and its prediction from rows made by hand, and a row that is measured."""

import importlib
import json
import runpy
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "experiments" / "scaling_study"


@pytest.fixture(autouse=True)
def modules(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    forget()  # another experiment has an analysis.py as well
    yield
    forget()


def forget():
    for name in ("analysis", "measure"):
        sys.modules.pop(name, None)


@pytest.fixture
def analysis(modules):
    return importlib.import_module("analysis")


def row(kind, devices, samples, seconds, virtual=False):
    return {
        "kind": kind,
        "devices": devices,
        "device_kind": "abacus",
        "virtual": virtual,
        "samples": samples,
        "steps": 10,
        "slot_steps": 80,
        "useful_slot_steps": 60,
        "first_call_seconds": 20.0,
        "load_seconds": 10.0,
        "seconds": [100.0, seconds, seconds],
        "loop_seconds": [seconds / 2] * 3,
        "host_seconds": [seconds / 4] * 3,
    }


def step(**changes):
    known = dict(stage="step", topology="v5e:1x1", resolution=512, samples=8, seconds=0.1, collectives={}, fits=True)
    return known | changes


def written(folder, rows):
    (folder / "rows").mkdir()
    for each in rows:
        (folder / "rows" / f"{each['kind']}_{each['devices']}.json").write_text(json.dumps(each))
    return folder


def test_efficiency_is_of_what_the_devices_would_do_one_by_one(analysis):
    rows = [row("weak", 1, 4, 2.0), row("weak", 2, 8, 2.5), row("strong", 1, 8, 4.0), row("strong", 2, 8, 2.0)]
    assert [analysis.throughput(each) for each in rows] == [2, 3.2, 2, 4]
    assert [analysis.efficiency(each, rows) for each in rows] == pytest.approx([1, 0.8, 1, 1])
    assert analysis.lost_by_a_fault(rows[0]) == 10 + 20 + 1


def test_virtual_devices_are_called_so_and_share_what_one_has(analysis, tmp_path):
    rows = [row("weak", 1, 4, 2.0, virtual=True), row("weak", 2, 8, 4.0, virtual=True)]
    rows += [row("strong", 1, 8, 4.0, virtual=True), row("strong", 2, 8, 5.0, virtual=True)]
    assert [analysis.efficiency(each, rows) for each in rows] == pytest.approx([1, 1, 1, 0.8])
    table = analysis.analyse(written(tmp_path, rows))
    assert "**Virtual devices** of one abacus" in table
    assert "| strong | 2 | 8 | 1.6 | 0.80 | 0.50 | 0.250 | 0.75 | 32.5 s |" in table.splitlines()
    assert (tmp_path / "scaling.png").stat().st_size > 1000


def test_predictions_scale_up_to_faults_and_state_what_they_assume(analysis):
    others = [step(samples=4, seconds=9.0), step(samples=16, seconds=None, fits=False)]
    figures = [*others, step(), step(stage="encode", seconds=1.0)]
    text = analysis.predict(figures, restart_seconds=365 * 864.0, host_seconds=0.0)
    lines = [line.split(" | ") for line in text.splitlines() if line.startswith("| ") and line[2].isdigit()]
    # 50 steps of 0.1 s and 1 s of encoding for 8 samples, and 1 % lost for each chip.
    assert [float(rate) for _, rate, _ in lines[:3]] == [1.32, 5.12, 17.9]
    assert [float(share.strip("| ")) for *_, share in lines] == [0.99, 0.96, 0.84, 0.36, 0]
    assert "assumed" in text and "an estimate, no speed" in text


def test_predicted_chips_wait_for_a_host_that_has_four_of_them(analysis):
    text = analysis.predict([step()], restart_seconds=0.0, host_seconds=5 / 8)
    shares = [float(line.split(" | ")[2].strip("| ")) for line in text.splitlines() if line[2:3].isdigit()]
    # 5 s of a chip for its 8 samples, and 5 s of the host for as many.
    assert shares == [0.5, 0.2, 0.2, 0.2, 0.2]


def test_predictions_need_a_step_that_fits(analysis):
    with pytest.raises(ValueError, match="fewer samples"):
        analysis.predict([step(fits=False)], restart_seconds=1, host_seconds=0)


def test_predictions_are_for_loops_without_collectives(analysis):
    with pytest.raises(ValueError, match="all-gather"):
        analysis.predict([step(collectives={"all-gather": [3, 64]})], restart_seconds=1, host_seconds=0)


def test_devices_have_equal_work_in_weak_scaling(tmp_path):
    measure = importlib.import_module("measure")
    config = runpy.run_path(str(ROOT / "configs" / "scaling_study.py"))["get_config"]("tiny")
    config.slots = 3
    with pytest.raises(ValueError, match="slots=3 is no multiple of the 2 strengths"):
        measure.measure_missing(config, tmp_path, started=time.perf_counter())


def test_a_row_is_measured_once(tmp_path):
    measure = importlib.import_module("measure")
    config = runpy.run_path(str(ROOT / "configs" / "scaling_study.py"))["get_config"]("tiny")
    config.update(devices=(1,), samples=2, repeats=1)
    measure.measure_missing(config, tmp_path, started=time.perf_counter())
    rows = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "rows").iterdir()}
    assert rows.keys() == {"weak_1", "strong_1"}
    for each in rows.values():
        assert (each["samples"], each["slot_steps"], each["useful_slot_steps"]) == (2, 4, 3)
        assert each["first_call_seconds"] > 0 and len(each["seconds"]) == len(each["loop_seconds"]) == 1
        assert 0 < each["host_seconds"][0] < each["first_call_seconds"] and each["clock"] == "CPU"
    before = (tmp_path / "rows" / "weak_1.json").read_bytes()
    measure.measure_missing(config, tmp_path, started=time.perf_counter())
    assert (tmp_path / "rows" / "weak_1.json").read_bytes() == before

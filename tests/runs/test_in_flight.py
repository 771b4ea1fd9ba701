"""A run through the engine: the pictures of one through the pipeline, the same files after a kill, no idle slots."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from img2img_jax.engine import Engine
from img2img_jax.images import load_image
from img2img_jax.inputs import find_inputs
from img2img_jax.runs import Sizing, make_plan, run, variations, verify
from img2img_jax.sweep import Settings
from img2img_jax.testing.tiny import tiny_pipeline

HELPERS = SimpleNamespace(**runpy.run_path(Path(__file__).parent / "conftest.py"))
GIVEN = dict(provenance=HELPERS.PROVENANCE, manifest=HELPERS.MANIFEST)


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline(shallow=True)


def plan_of(folder, **changes):
    """Of one picture size, and an input that cannot be used."""
    (folder / "p2.png").unlink(missing_ok=True)
    settings = variations(Settings(num_inference_steps=6, **changes), scheduler=["ddim", "euler_a"])
    sizing = Sizing(multiple=2)
    return make_plan(
        find_inputs(folder), strengths=[0, 0.4, 0.7, 1], seeds=[0, 1], settings=settings, sizing=sizing, batch_size=6
    )


def latent_change(source, output, *, source_latents, output_latents, **_):
    return {
        "latent": abs(source_latents - output_latents).mean((1, 2, 3)),
        "pixel": abs(source - output).mean((1, 2, 3)),
    }


class Killed(Exception):
    pass


def dying(after):
    """An evaluation that does not survive its last call."""
    left = [after]

    def evaluate(*args, **options):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return latent_change(*args, **options)

    return evaluate


@pytest.mark.usefixtures("alike_rows")
def test_a_killed_run_ends_with_the_bytes_of_an_undisturbed_one(folder, tmp_path, pipe):
    plan = plan_of(folder)
    engine = Engine(pipe, slots_per_device=2)
    rows = run(engine, plan, tmp_path / "whole", evaluate=latent_change, **GIVEN)
    assert len(rows) == len(plan.trials) + len(plan.failures) and engine.statistics.jobs == len(plan.trials)
    assert engine.statistics.utilisation > 0.95 and engine.statistics.pictures_encoded == 4
    for after in (2, 1, 3):
        with pytest.raises(Killed):
            run(Engine(pipe, slots_per_device=2), plan, tmp_path / "killed", evaluate=dying(after), **GIVEN)
    run(Engine(pipe, slots_per_device=2), plan, tmp_path / "killed", evaluate=latent_change, **GIVEN)
    assert HELPERS.files(tmp_path / "killed") == HELPERS.files(tmp_path / "whole")
    assert verify(engine, plan, tmp_path / "whole", provenance=HELPERS.PROVENANCE, batches=3).problems == []
    for row in rows:
        if "metrics" in row:
            assert (row["metrics"]["pixel"] == 0) == (row["metrics"]["latent"] == 0) == (row["strength"] == 0)
            assert (row["batch_size"], row["batch_index"]) == (2, 0)


def test_pictures_are_those_of_the_pipeline(folder, tmp_path, pipe):
    plan = plan_of(folder)
    for name, made_by in (("engine", Engine(pipe, slots_per_device=2)), ("pipeline", pipe)):
        run(made_by, plan, tmp_path / name, **GIVEN)
    files = sorted(path.name for path in (tmp_path / "engine" / "images").iterdir())
    assert len(files) == len(plan.trials)
    for file in files:
        engine, pipeline = (
            np.asarray(load_image(tmp_path / name / "images" / file), int) for name in ("engine", "pipeline")
        )
        assert abs(engine - pipeline).max() <= 1


def test_an_input_that_changes_after_planning_is_a_row(folder, tmp_path, pipe):
    plan = plan_of(folder)
    (folder / "p1.png").write_bytes((folder / "p0.png").read_bytes())
    rows = run(Engine(pipe, slots_per_device=2), plan, tmp_path, **GIVEN)
    assert {row["image"] for row in rows if "changed since" in row.get("error", "")} == {"p1.png"}
    assert len(rows) == len(plan.trials) + len(plan.failures)


class Spoiling(Engine):
    """An input breaks after its jobs were checked, before it is encoded."""

    spoilt = None

    def _run(self, *args):
        self.spoilt.write_bytes(b"no picture")
        return super()._run(*args)


def test_an_input_that_breaks_under_way_is_a_row(folder, tmp_path, pipe):
    plan, engine = plan_of(folder), Spoiling(pipe, slots_per_device=2)
    engine.spoilt = folder / "p1.png"
    rows = run(engine, plan, tmp_path, **GIVEN)
    assert {row["image"] for row in rows if "error" in row and "trial" in row} == {"p1.png"}
    assert len(rows) == len(plan.trials) + len(plan.failures)
    assert sum("error" not in row for row in rows) == sum(trial.sample.image != engine.spoilt for trial in plan.trials)


def test_settings_the_engine_does_not_have_are_refused(folder, tmp_path, pipe):
    with pytest.raises(ValueError, match="vae_tile_size=16 .* engine has None"):
        run(Engine(pipe, slots_per_device=2), plan_of(folder, vae_tile_size=16), tmp_path, **GIVEN)

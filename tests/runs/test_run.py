"""Whatever happens to a run, its files end up the same."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from absl import logging
from PIL import Image

from img2img_jax import images, metadata
from img2img_jax.checkpoints import CheckpointError
from img2img_jax.file_digest import file_sha256
from img2img_jax.inputs import find_inputs
from img2img_jax.metrics import Evaluator
from img2img_jax.runs import Records, Sizing, make_manifest, make_plan, run, verify
from img2img_jax.runs.run import pixels_sha256
from img2img_jax.sweep import Settings
from img2img_jax.testing.tiny import tiny_pipeline

HERE = Path(__file__).parent
HELPERS = SimpleNamespace(**runpy.run_path(HERE / "conftest.py"))
GIVEN = dict(provenance=HELPERS.PROVENANCE, manifest=HELPERS.MANIFEST)

_KILL = """
import os, runpy, signal, sys
from pathlib import Path
from types import SimpleNamespace

from img2img_jax.inputs import find_inputs
from img2img_jax.runs import make_plan, run

helpers = SimpleNamespace(**runpy.run_path(sys.argv[1]))
folder, workdir, kills = Path(sys.argv[2]), Path(sys.argv[3]), [int(n) for n in sys.argv[4].split(",")]
replace = os.replace


def child(kill):
    left = [kill]

    def dying(source, target):
        if left[0] == 0:  # the next write is done, but has not got its name
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        replace(source, target)

    os.replace = dying
    plan = make_plan(find_inputs(folder), strengths=[0, 0.5, 1], seeds=[0, 1], batch_size=4)
    run(helpers.Painter(), plan, workdir, provenance=helpers.PROVENANCE, manifest=helpers.MANIFEST)
    os._exit(0)


for kill in kills:
    pid = os.fork()
    if pid == 0:
        child(kill)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def plan(folder, **changes):
    return make_plan(find_inputs(folder), **(dict(strengths=[0, 0.5, 1], seeds=[0, 1], batch_size=4) | changes))


@pytest.fixture
def undisturbed(folder, tmp_path):
    """The files of a run that nothing happened to."""
    run(HELPERS.Painter(), plan(folder), tmp_path / "undisturbed", **GIVEN)
    return HELPERS.files(tmp_path / "undisturbed")


def test_killed_at_every_stage_it_ends_as_if_nothing_had_happened(folder, undisturbed, tmp_path):
    """SIGKILL in the midst of a write: of the first rows, of pictures, of rows, again and again."""
    workdir, kills = tmp_path / "killed", "0,1,3,2,4,6,5,1,9,1000"
    command = [sys.executable, "-c", _KILL, str(HERE / "conftest.py"), str(folder), str(workdir), kills]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["-9"] * 9 + ["0"], done.stderr
    assert HELPERS.files(workdir) == undisturbed


def test_batches_that_are_done_are_not_made_again(folder, tmp_path):
    class Dying(HELPERS.Painter):
        def __call__(self, *arguments, **options):
            if len(self.calls) == 3:
                raise KeyboardInterrupt
            return super().__call__(*arguments, **options)

    first, second = Dying(), HELPERS.Painter()
    with pytest.raises(KeyboardInterrupt):
        run(first, plan(folder), tmp_path / "w", **GIVEN)
    run(second, plan(folder), tmp_path / "w", **GIVEN)
    assert len(first.calls) == 3 and len(second.calls) == len(plan(folder).batches) - 3
    run(second, plan(folder), tmp_path / "w", **GIVEN)
    assert len(second.calls) == len(plan(folder).batches) - 3


def test_rows_say_everything(folder, tmp_path):
    rows = run(HELPERS.Painter(), plan(folder), tmp_path, **GIVEN)
    assert rows == [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["index"] for row in rows] == list(range(5 * 6 + 3))
    assert [row["image"] for row in rows if "error" in row] == ["broken.png", "missing.png", "silent.png"]
    made = [row for row in rows if "error" not in row]
    assert {(row["image"], row["strength"], row["seed"]) for row in made} == {
        (f"p{n}.png", strength, seed) for n in range(5) for strength in (0, 0.5, 1) for seed in (0, 1)
    }
    for row in made:
        picture = images.load_image(tmp_path / row["output"])
        assert row["output_sha256"] == pixels_sha256(picture)
        assert metadata.read_parameters(tmp_path / row["output"]).seed == row["seed"]
        assert float(row["start"]["log_snr"]) == (1 - row["strength"] if row["strength"] else np.inf)
    times = [json.loads(line) for line in (tmp_path / "seconds.jsonl").read_text().splitlines()]
    assert sum(line["samples"] for line in times) == len(made)


def test_metrics_are_of_the_pictures_in_the_row(folder, tmp_path):
    def evaluate(source, output, prompt):
        assert len(prompt) == len(source) and source.dtype == output.dtype == np.float32
        return {"l1": abs(source - output).mean((1, 2, 3)), "best": np.full(len(source), np.inf)}

    for row in run(HELPERS.Painter(), plan(folder), tmp_path, evaluate=evaluate, **GIVEN):
        if "error" not in row:
            pair = [
                np.asarray(images.load_image(path), float) for path in (folder / row["image"], tmp_path / row["output"])
            ]
            assert row["metrics"]["l1"] == pytest.approx(abs(pair[0] - pair[1]).mean() / 255, abs=1e-6)
            assert float(row["metrics"]["best"]) == np.inf


def test_settings_reach_the_pipeline(folder, tmp_path):
    painter, settings = HELPERS.Painter(), [Settings(guidance_scale=2), Settings(guidance_scale=5)]
    rows = run(painter, plan(folder, settings=settings), tmp_path, **GIVEN)
    asked = {scale for call in painter.calls for scale in np.ravel(call["guidance_scale"])}
    assert asked == {2, 5} == {r.get("guidance_scale", 2) for r in rows}


def test_an_input_that_vanishes_or_changes_after_planning_is_a_row(folder, tmp_path):
    made = plan(folder)
    (folder / "p0.png").unlink()
    (folder / "p1.png").write_bytes((folder / "p3.png").read_bytes())
    rows = run(HELPERS.Painter(), made, tmp_path, **GIVEN)
    errors = {row["image"]: row["error"] for row in rows if "error" in row and row["image"].startswith("p")}
    assert set(errors) == {"p0.png", "p1.png"}
    assert "no such file" in errors["p0.png"] and "changed since" in errors["p1.png"]
    assert sum("output" in row for row in rows) == 3 * 6


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (dict(manifest=HELPERS.MANIFEST | {"code_sha256": "99"}), "another code_sha256 .see its manifest.json"),
        (dict(manifest=HELPERS.MANIFEST | {"devices": {"count": 8}}), "another devices"),
        (dict(provenance=HELPERS.PROVENANCE | {"dtype": "bfloat16"}), "another provenance .see its config.json"),
        (dict(plan={"seeds": [0, 2]}), "another plan_sha256"),
    ],
)
def test_a_directory_holds_one_run(folder, tmp_path, change, named):
    run(HELPERS.Painter(), plan(folder), tmp_path, **GIVEN)
    other = plan(folder, **change.pop("plan", {}))
    with pytest.raises(ValueError, match=named):
        run(HELPERS.Painter(), other, tmp_path, **(GIVEN | change))


def test_another_commit_of_the_same_code_may_go_on(folder, tmp_path):
    run(HELPERS.Painter(), plan(folder), tmp_path, **GIVEN)
    run(HELPERS.Painter(), plan(folder), tmp_path, **(GIVEN | {"manifest": HELPERS.MANIFEST | {"git_commit": "56"}}))


UNFINISHED = (".config.json.ab_d3f9h", "rows/.1.jsonl.abcdefgh", "images/.a.png.unfinished", "plots/.l1.svg.01234567")
OTHERS = (".env", ".eslintrc.json", ".rows.jsonl.old", "rows/.gitignore", "images/.DS_Store", "images/.checks/a.png")
OTHERS += ("notes/.a.png.unfinished", "images/.b.png.unfinished/c.png")


def spread(workdir, names):
    for name in names:
        (workdir / name).parent.mkdir(parents=True, exist_ok=True)
        (workdir / name).write_text(name)


def test_of_hidden_files_only_those_that_a_run_left_unfinished_are_removed(folder, tmp_path):
    workdir = tmp_path / "w"
    spread(workdir, (*UNFINISHED, *OTHERS))
    (workdir / "rows" / ".link.jsonl.abcdefgh").symlink_to(workdir / ".env")
    for _ in range(2):
        run(HELPERS.Painter(), plan(folder), workdir, **GIVEN)
        hidden = {name for name in HELPERS.files(workdir) if "/." in f"/{name}"}
        assert hidden == {*OTHERS, "rows/.link.jsonl.abcdefgh"}


def test_nothing_is_touched_in_a_directory_that_is_not_the_runs(folder, tmp_path):
    workdir = tmp_path / "w"
    spread(workdir, (*UNFINISHED, *OTHERS))
    (workdir / "config.json").write_text('{"name": "of something else"}')
    before = HELPERS.files(workdir)
    with pytest.raises(ValueError, match="holds a run with another .*name"):
        run(HELPERS.Painter(), plan(folder), workdir, **GIVEN)
    assert HELPERS.files(workdir) == before


def test_verifying_finds_every_difference(folder, tmp_path):
    made, given = plan(folder), dict(provenance=HELPERS.PROVENANCE, batches=99)
    rows = run(HELPERS.Painter(), made, tmp_path, **GIVEN)
    clean = verify(HELPERS.Painter(), made, tmp_path, **given)
    assert (clean.checked, clean.problems) == (30, [])
    assert verify(HELPERS.Painter(), made, tmp_path, provenance=HELPERS.PROVENANCE).checked <= 4

    class Other(HELPERS.Painter):
        def __call__(self, prompt, image, *, seed, **options):
            return super().__call__(prompt, image, seed=[n + 7 for n in seed], **options)

    found = verify(Other(), made, tmp_path, **given)
    assert len(found.problems) == 20 and "made again it has sha256" in found.problems[0]  # strength 0 has no noise
    outputs = [tmp_path / row["output"] for row in rows if "output" in row]
    outputs[0].write_bytes(outputs[5].read_bytes())
    outputs[1].unlink()
    problems = verify(HELPERS.Painter(), made, tmp_path, **given).problems
    assert len(problems) == 2
    assert any("is not the picture of its row" in p for p in problems) and any("no such file" in p for p in problems)


@pytest.fixture
def unlike(tmp_path):
    """Three pictures: one with a mask, one without, and one below SSIM's window of 11 pixels."""
    folder, rng = tmp_path / "unlike", np.random.default_rng(0)
    folder.mkdir()
    for name, side in (("masked", 16), ("plain", 16), ("small", 4), ("mask", 16)):
        Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).save(folder / f"{name}.png")
    lines = [{"file_name": f"{name}.png", "prompt": "x"} for name in ("masked", "plain", "small")]
    lines[0]["mask"] = "mask.png"
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_inputs_that_cannot_have_a_metric_go_without(unlike, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: said.append(text % values))
    evaluate = Evaluator({}, ["mse", "ssim", "background_mse"])
    made = plan(unlike, strengths=[0.5], sizing=Sizing(multiple=4))
    rows = run(HELPERS.Painter(), made, tmp_path / "w", evaluate=evaluate, **GIVEN)
    assert {row["image"]: set(row["metrics"]) for row in rows} == {
        "masked.png": {"mse", "ssim", "background_mse"},
        "plain.png": {"mse", "ssim"},
        "small.png": {"mse"},
    }
    assert sorted(said) == [
        "2 of 6 pictures go without a metric: ssim needs pictures of at least 11 pixels a side, not 4; leave it out",
        "4 of 6 pictures go without a metric: background_mse needs mask; pass what is missing, or leave the metric out",
    ]


def test_a_metric_that_no_input_can_have_ends_the_run_before_it_begins(folder, tmp_path):
    painter, evaluate = HELPERS.Painter(), Evaluator({}, ["mse", "background_mse"])
    with pytest.raises(ValueError, match="background_mse needs mask"):
        run(painter, plan(folder), tmp_path / "w", evaluate=evaluate, **GIVEN)
    assert not painter.calls and not (tmp_path / "w").exists()


def test_the_manifest_has_all_weights(tmp_path):
    """Those of a single file, and of what stands beside the checkpoint, whatever a LoRA's file is called."""
    names = ("model.safetensors", "lora.bin", "lora2.safetensors", "clip/model.safetensors")
    spread(tmp_path, names)
    sha256 = {name: file_sha256(tmp_path / name) for name in names}
    loras = [tmp_path / "lora.bin", str(tmp_path / "lora2.safetensors")]
    manifest = make_manifest(tmp_path / "model.safetensors", loras=loras, clip=tmp_path / "clip", vae="", lpips=())
    assert manifest["weights"] == {"model.safetensors": sha256["model.safetensors"]}
    assert manifest["other_weights"] == {
        "loras": [{"lora.bin": sha256["lora.bin"]}, {"lora2.safetensors": sha256["lora2.safetensors"]}],
        "clip": [{"model.safetensors": sha256["clip/model.safetensors"]}],
    }
    with pytest.raises(CheckpointError, match="does not exist"):
        make_manifest(tmp_path, vae=tmp_path / "none.safetensors")


def test_the_manifest_names_code_devices_and_weights(tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "model.safetensors").write_bytes(b"abc")
    manifest = make_manifest(tmp_path)
    assert list(manifest["weights"]) == ["unet/model.safetensors"]
    assert len(manifest["code_sha256"]) == 64 and manifest["devices"]["count"] >= 1
    assert manifest["versions"].keys() >= {"jax", "numpy"}
    assert json.loads(json.dumps(manifest)) == manifest == make_manifest(tmp_path)


def test_a_real_pipeline_and_evaluator_give_the_same_bits_after_an_interruption(folder, tmp_path):
    pipe, settings = tiny_pipeline(), Settings(num_inference_steps=4, guidance_scale=3.0, scheduler="euler_a")
    (folder / "p2.png").unlink()  # the only one of another size: one compilation less
    knobs = dict(strengths=[0, 0.5, 0.9], seeds=[3], settings=[settings], sizing=Sizing(multiple=2), batch_size=4)
    made = plan(folder, **knobs)
    evaluate, calls = Evaluator({}, ["psnr", "ssim"]), []

    class Dying:
        def __call__(self, *arguments, **options):
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return pipe(*arguments, **options)

    rows = run(pipe, made, tmp_path / "whole", evaluate=evaluate, **GIVEN)
    with pytest.raises(KeyboardInterrupt):
        run(Dying(), made, tmp_path / "halved", evaluate=evaluate, **GIVEN)
    run(pipe, made, tmp_path / "halved", evaluate=evaluate, **GIVEN)
    assert HELPERS.files(tmp_path / "halved") == HELPERS.files(tmp_path / "whole")
    untouched = [row["metrics"] for row in rows if row.get("strength") == 0]
    assert untouched == [{"psnr": "inf", "ssim": 1.0}] * 4
    assert verify(pipe, made, tmp_path / "halved", provenance=HELPERS.PROVENANCE, batches=2).problems == []


def test_rows_can_be_read_while_a_run_goes_on(folder, tmp_path):
    seen = []

    class Watching(HELPERS.Painter):
        def __call__(self, *arguments, **options):
            seen.append(len(Records(tmp_path).read()))
            return super().__call__(*arguments, **options)

    rows = run(Watching(), plan(folder), tmp_path, **GIVEN)
    assert seen == sorted(set(seen)) and seen[0] == 3 and len(rows) == 33

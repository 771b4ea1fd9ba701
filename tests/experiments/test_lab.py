"""Every experiment in its ``:tiny`` configuration, on a tiny random pipeline: all files, and what the rows must say."""

import importlib.util
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from img2img_jax import Img2ImgPipeline
from img2img_jax.checkpoints import weight_digests
from img2img_jax.lab import Results, plots
from img2img_jax.lab.experiment import Experiment, present
from img2img_jax.lab.reference_lines import LINES, ROUND_TRIP, UNRELATED
from img2img_jax.metrics import Evaluator
from img2img_jax.metrics.clip_features import EMBEDDED_CLIP
from img2img_jax.testing.tiny import tiny_pipeline

ROOT = Path(__file__).parents[2]
NAMES = (
    "strength_sweep",
    "sketch_to_image",
    "vae_budget",
    "seed_variance",
    "guidance_vs_strength",
    "solver_and_steps",
)


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    made = tiny_pipeline()
    made.folder = tmp_path_factory.mktemp("model")
    (made.folder / "weights.safetensors").write_bytes(b"stands for the weights")
    return made


class Texts:
    """Stands for CLIP: average colours, and the length of texts, which cost nothing."""

    def pictures(self, images):
        return _unit(np.asarray(images).mean((1, 2)) + 0.1)

    def texts(self, texts):
        return _unit(np.float32([[len(text), 5, 3] for text in texts]))


def _unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(autouse=True)
def small_world(pipe, monkeypatch):
    monkeypatch.setattr(Img2ImgPipeline, "from_pretrained", lambda *_, **__: pipe)
    names = ["l1", "ssim", "edge_f1", "clip_image", "clip_text", "clip_direction"]
    monkeypatch.setattr(Evaluator, "load", lambda *_, **__: Evaluator({"clip": Texts()}, names))
    monkeypatch.chdir(ROOT)


def tiny(name):
    """The tiny configuration, at the tiny pipeline's size, all batches of one length."""
    config = load(ROOT / "configs" / f"{name}.py").get_config("tiny")
    config.update(height=16, width=16, batch_size=4)
    return config


@pytest.mark.parametrize("name", NAMES)
def test_tiny(name, tmp_path, monkeypatch):
    experiment = Experiment(tiny(name), tmp_path)
    results = experiment.run()
    if name != "strength_sweep":  # the plots of one experiment are those of all, and take their time
        monkeypatch.setattr(plots, "plot_all", lambda results: None)
    text = present(results, load(ROOT / "experiments" / name / "analysis.py").analyse)
    assert not results.failures
    assert len(results.rows) == len(experiment.plan.trials)
    assert len(text.splitlines()) > 2 and "nan" not in text
    for file in ("config.json", "manifest.json", "summary.csv", "table.md", "figure.png", "figure.svg", "report.html"):
        assert (tmp_path / file).stat().st_size > 200, file
    if name == "strength_sweep":
        drawn = {path.stem for path in (tmp_path / "plots").iterdir()}
        assert drawn == {f"{metric}_{over}" for metric in results.metrics for over in ("strength", "log_snr")}
    lines = {row["reference"] for row in results.references}
    assert lines == (set(LINES) if experiment.config.reference_lines else set())


def test_pictures_are_measured_on_the_devices_that_make_them(pipe, tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(Evaluator, "load", lambda *_, **options: given.update(options))
    Experiment(tiny("strength_sweep"), tmp_path)._evaluator()
    assert given["mesh"] is pipe.mesh


def test_loras_are_given_as_pairs_or_as_the_command_takes_them(pipe, tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(Img2ImgPipeline, "from_pretrained", lambda path, **options: given.update(options) or pipe)
    (tmp_path / "a.safetensors").write_bytes(b"a")
    config, a = tiny("strength_sweep"), str(tmp_path / "a.safetensors")
    config.model.loras = ((a, 0.5), f"{a}:0.8", a)
    experiment = Experiment(config, tmp_path / "run")
    assert given["loras"] == [(a, 0.5), (a, 0.8), (a, 1.0)]
    assert experiment.provenance["loras"] == (f"{a}:0.5", f"{a}:0.8", f"{a}:1.0")
    assert experiment.provenance["model"] is None and experiment.provenance["dtype"] == "float32"


def test_the_manifest_has_the_weights_of_loras_and_judges(tmp_path):
    for name in ("lora", "vae", "lpips", "dino"):
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())
    config, file = tiny("strength_sweep"), lambda name: str(tmp_path / f"{name}.safetensors")
    config.model.update(loras=(f"{file('lora')}:0.5",), vae=file("vae"))
    config.update(lpips=(file("lpips"),), dino=file("dino"))
    weights = Experiment(config, tmp_path / "run")._manifest()["other_weights"]
    assert weights == {
        "vae": [weight_digests(file("vae"))],
        "loras": [weight_digests(file("lora"))],
        "clip": [weight_digests(EMBEDDED_CLIP)],
        "lpips": [weight_digests(file("lpips"))],
        "dino": [weight_digests(file("dino"))],
    }


def test_reference_lines_have_what_they_can(tmp_path, monkeypatch):
    """Strength 1 is no text-to-image if it began from the picture, and rows of the lines have no latents."""
    monkeypatch.setattr(Evaluator, "load", lambda *_, **__: Evaluator({"clip": Texts()}, ["l1", "latent_mse"]))
    config = tiny("strength_sweep")
    config.update(strengths=(0.5,), seeds=(0,), max_inputs=2, settings={"noise_at_one": ("leak",)})
    results = Experiment(config, tmp_path).run()
    assert {row["strength"] for row in results.rows if "latent_mse" in row} == {0.5, 1.0}
    assert {row["reference"] for row in results.references} == {ROUND_TRIP, UNRELATED}
    assert all("l1" in row and "latent_mse" not in row for row in results.references)


def test_solvers_and_modes_do_equal_work(tmp_path):
    experiment = Experiment(tiny("solver_and_steps"), tmp_path)
    scheduler = experiment._scheduler
    for trial in experiment.plan.trials:
        settings, strength = trial.settings, trial.sample.strength
        _, [start] = scheduler(settings.scheduler).table(
            [strength], settings.num_inference_steps, mode=settings.strength_mode
        )
        budgets = (3, 6) if settings.scheduler == "ddim" else (3, 5)  # Heun: two a step, one in the last
        assert start.network_evaluations in budgets
    assert {trial.settings.strength_mode for trial in experiment.plan.trials} == {"truncate", "exact", "continuous"}


def test_the_command_runs_goes_on_and_verifies(tmp_path, monkeypatch, capsys):
    """run.py as a user starts it, on a folder with a broken picture; then once more, and --verify."""
    folder, workdir = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("frog", "ox"):
        (folder / f"{name}.png").write_bytes(
            (ROOT / "experiments" / "inputs" / "pictures" / f"{name}.png").read_bytes()
        )
    (folder / "broken.png").write_bytes(b"no picture")
    names = ("broken", "frog", "ox")
    lines = [{"file_name": f"{name}.png", "prompt": "x", "source_prompt": "y"} for name in names]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.syspath_prepend(ROOT / "experiments" / "strength_sweep")

    def start(*extra):
        arguments = ["--config=configs/strength_sweep.py:tiny", f"--workdir={workdir}", f"--data={folder}"]
        smaller = dict(height=16, width=16, batch_size=4, slots_per_device=4)
        small = [f"--config.{name}={value}" for name, value in smaller.items()]
        monkeypatch.setattr(sys, "argv", ["run.py", *arguments, *small, *extra])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "experiments" / "strength_sweep" / "run.py"), run_name="__main__")
        return ended.value.code

    assert start() == 1  # one input failed, and is named
    assert "broken.png" in capsys.readouterr().err
    before = (workdir / "rows.jsonl").read_bytes()
    assert len(Results.read(workdir).rows) == 2 * 6 * 2
    assert start() == 1 and (workdir / "rows.jsonl").read_bytes() == before
    assert start("--only_analysis") == 0
    assert start("--verify") == 0
    assert "0 problems" in capsys.readouterr().out


def test_the_curve_falls(tmp_path):
    """The rank correlation that the table prints, of a curve that is known."""
    analysis = load(ROOT / "experiments" / "strength_sweep" / "analysis.py")
    rows = [
        dict(image="a", image_sha256="0", seed=seed, strength=s, ssim=1 - s**2, l1=s)
        for s in (0, 0.3, 0.6, 1)
        for seed in (0, 1)
    ]
    results = Results(folder=tmp_path, rows=rows, references=[], failures=[], metrics=["ssim", "l1"])
    assert [analysis.rank_correlation(results, metric) for metric in results.metrics] == [-1, -1]


def test_pictures_without_a_metric_have_no_part_in_its_variance(tmp_path):
    analysis = load(ROOT / "experiments" / "seed_variance" / "analysis.py")
    cells = [(image, s, n) for image in "ab" for s in (0.0, 1.0) for n in (0, 1)]
    rows = [dict(image=image, strength=s, seed=n, **({"ssim": s + n} if image == "a" else {})) for image, s, n in cells]
    results = Results(folder=tmp_path, rows=rows, references=[], failures=[], metrics=["ssim"])
    assert analysis.table(results, "ssim").tolist() == [[[0, 1]], [[1, 2]]]


def test_variance_is_shared_out():
    shares = load(ROOT / "experiments" / "seed_variance" / "analysis.py").shares
    strength, picture, seed = np.ix_([0.0, 1, 2], [0.0, 3], [0.0, 1, 5, 2])
    assert shares(strength + 0 * picture + 0 * seed) == [1, 0, 0, 0]
    assert shares(picture + 0 * strength + 0 * seed) == [0, 1, 0, 0]
    assert shares(seed + 0 * strength + 0 * picture) == [0, 0, 0, 1]
    assert sum(shares(strength * picture + seed)) == pytest.approx(1)

"""What the strength sweep is for, on the model that ships: fidelity falls with strength."""

import importlib.util
from pathlib import Path

import pytest

from img2img_jax.lab import experiment_config, grid
from img2img_jax.lab.experiment import Experiment

ROOT = Path(__file__).parents[2]


def test_fidelity_falls_with_strength(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    spec = importlib.util.spec_from_file_location("analysis", ROOT / "experiments" / "strength_sweep" / "analysis.py")
    analysis = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(analysis)
    few = dict(
        max_inputs=2,
        seeds=(0,),
        strengths=grid(0.2),
        batch_size=12,
        settings=dict(num_inference_steps=(6,)),
        metrics=("l1", "mse", "ssim"),
    )
    results = Experiment(experiment_config("strength_sweep", "tiny", few), tmp_path).run()
    assert len(results.rows) == 2 * 6
    for metric in results.metrics:
        assert analysis.rank_correlation(results, metric) < -0.9, results.curve(metric)
        lines = {name: mean.mean for name, mean in results.lines(metric).items()}
        ends = [mean.mean for _, mean in results.curve(metric)]
        assert lines["text-to-image"] == pytest.approx(ends[-1])
        assert min(ends[0], ends[1]) < lines["VAE round trip"] < max(ends[0], ends[1])

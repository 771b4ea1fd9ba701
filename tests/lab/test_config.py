"""Configurations have one structure, whatever changes are made."""

import importlib.util
from pathlib import Path

import pytest

from img2img_jax.lab import experiment_config, grid

ROOT = Path(__file__).parents[2]
EXPERIMENTS = [
    path.parent.name for path in sorted(ROOT.glob("experiments/*/run.py")) if "img2img_jax.lab.main" in path.read_text()
]
PROTOCOLS = {
    "strength_sweep": ["pie_bench", "flowedit"],
    "sketch_to_image": ["sdedit"],
    "guidance_vs_strength": ["instruct_pix2pix"],
}


def get_config(name, size):
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(size)


def test_grids():
    assert grid(0.25) == (0, 0.25, 0.5, 0.75, 1)
    assert grid(0.1, 0.3, 0.9) == (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def test_changes_reach_the_nested_fields_and_leave_their_neighbours():
    config = experiment_config("x", "tiny", dict(settings=dict(scheduler=("euler",)), inputs={"a": "b"}))
    assert config.settings.scheduler == ("euler",) and config.settings.num_inference_steps == (8,)
    assert dict(config.inputs) == {"a": "b"}


@pytest.mark.parametrize("changes", [dict(strenghts=(0.1,)), dict(settings=dict(steps=(3,)))])
def test_misspelt_fields_are_refused(changes):
    with pytest.raises((AttributeError, KeyError)):
        experiment_config("x", "", changes)


def test_unknown_sizes_are_refused():
    with pytest.raises(ValueError, match="argument 'huge' is not known to x; choose from '', 'embedded', 'tiny'"):
        experiment_config("x", "huge")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_has_every_size_and_says_what_it_costs(name):
    fields = set(experiment_config("x"))
    for size in ("", "embedded", "tiny", *PROTOCOLS.get(name, ())):
        config = get_config(name, size)
        assert set(config) == fields and config.name == name
        assert bool(config.inputs) == (size in ("embedded", "tiny"))  # a whole study is of the user's --data
    text = (ROOT / "configs" / f"{name}.py").read_text(encoding="utf-8")
    assert "Command:" in text and "Expected" in text and "Stable Diffusion" in text
    assert len((ROOT / "experiments" / name / "run.py").read_text(encoding="utf-8").splitlines()) < 12


def test_sdedit_has_the_papers_times():
    assert get_config("sketch_to_image", "sdedit").strengths == (0.01, *grid(0.1, 0.1))
    assert get_config("guidance_vs_strength", "instruct_pix2pix").strengths == grid(0.1, 0.3, 0.9)

"""As many steps as a budget allows, whatever the sampler, mode and strength."""

import itertools

import pytest

from img2img_jax.diffusion.scheduler import Scheduler
from img2img_jax.diffusion.strength import MODES
from img2img_jax.lab.budget import settings_for
from img2img_jax.sweep import Settings
from img2img_jax.testing.tiny import SCHEDULER_CONFIG


def make(name):
    return Scheduler.from_config(SCHEDULER_CONFIG, name)


@pytest.mark.parametrize(("name", "mode"), [*itertools.product(("ddim", "heun", "dpmpp_2m"), MODES)])
def test_the_most_steps_that_fit(name, mode):
    settings = Settings(scheduler=name, strength_mode=mode)
    for budget, strength in itertools.product((1, 5, 12), (0.15, 0.5, 1.0)):
        [found] = settings_for([settings], budget, strength, make)

        def evaluations(steps, strength=strength):
            return make(name).table([strength], steps, mode=mode)[1][0].network_evaluations

        assert evaluations(found.num_inference_steps) <= budget < evaluations(found.num_inference_steps + 1)
        assert evaluations(found.num_inference_steps) >= budget - 1


def test_strength_0_runs_nothing():
    assert settings_for([Settings(scheduler="heun")], 7, 0.0, make)[0].num_inference_steps == 7

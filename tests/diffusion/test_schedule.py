"""Noise schedules against their formulas."""

import json
from importlib import resources

import numpy as np
import pytest

from img2img_jax.diffusion import schedule as schedules
from img2img_jax.diffusion.schedule import NoiseSchedule
from img2img_jax.diffusion.scheduler import Scheduler

SD = {"num_train_timesteps": 1000, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
CONFIGS = {
    "scaled_linear": SD,
    "linear": SD | {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02},
    "cosine": SD | {"beta_schedule": "squaredcos_cap_v2"},
    "zero_snr": SD | {"rescale_betas_zero_snr": True},
    "short": SD | {"num_train_timesteps": 10},
}


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS)
def schedule(request):
    return NoiseSchedule.from_config(request.param)


def test_scaled_linear_is_stable_diffusions_table():
    table = NoiseSchedule.from_config(SD).alphas_cumprod
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    np.testing.assert_allclose(table, np.cumprod(1 - betas), rtol=1e-4)
    assert table.dtype == np.float64
    assert np.sqrt(table[-1]) == pytest.approx(0.068265, abs=1e-5)  # the leak at the last training step


def test_linear_betas_are_equidistant():
    np.testing.assert_allclose(np.diff(schedules.linear_betas(0.1, 0.4, 4)), 0.1, rtol=1e-6)


def test_cosine_follows_its_alpha_bar():
    table = NoiseSchedule.from_config(CONFIGS["cosine"]).alphas_cumprod
    t = np.arange(1, 1001) / 1000
    f = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(table[:990], f[:990], rtol=1e-4)
    assert 0 < table[-1] < 1e-8  # the tail is kept


def test_zero_terminal_snr_ends_in_pure_noise_and_keeps_the_start():
    before, after = (NoiseSchedule.from_config(CONFIGS[k]).alphas_cumprod for k in ("scaled_linear", "zero_snr"))
    assert after[-1] == 0
    assert after[0] == pytest.approx(before[0], rel=1e-6)
    assert np.all(np.diff(after) < 0)


def test_levels_are_variance_preserving_and_meet_the_table(schedule):
    t = np.linspace(0, schedule.num_train_timesteps, 501)
    np.testing.assert_allclose(schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2, 1, rtol=1e-12)
    whole = np.arange(schedule.num_train_timesteps)
    np.testing.assert_allclose(schedule.alpha(whole) ** 2, schedules.floored(schedule.alphas_cumprod), rtol=1e-9)


def test_log_snr_strictly_falls_up_to_the_very_end(schedule):
    t = np.linspace(0, schedule.num_train_timesteps, 20001)
    log_snr = schedule.log_snr(t)
    assert np.all(np.diff(log_snr) < 0) and np.isfinite(log_snr).all()
    np.testing.assert_allclose(log_snr, 2 * np.log(schedule.alpha(t) / schedule.sigma(t)), rtol=1e-9, atol=1e-9)


def test_interpolation_is_linear_in_log_sigma():
    schedule = NoiseSchedule.from_config(SD)
    r = schedule.noise_to_signal
    assert r(300.25) == pytest.approx(r(300) ** 0.75 * r(301) ** 0.25, rel=1e-12)
    assert r(1000) == pytest.approx(r(999) ** 2 / r(998), rel=1e-12)


def test_timestep_inverts_noise_to_signal(schedule):
    t = np.linspace(0, schedule.num_train_timesteps, 777)
    np.testing.assert_allclose(schedule.timestep(schedule.noise_to_signal(t)), t, atol=1e-6)
    assert schedule.timestep(schedule.noise_to_signal(0) / 2) == 0


@pytest.mark.parametrize("last", [0.0, 0.07, 0.5])
def test_a_schedule_can_end_at_any_alpha(last):
    """Shape and start stay, so that zero terminal SNR makes the same of it as of what it was made from."""
    betas = schedules.scaled_linear_betas(0.00085, 0.012, 1000)
    made = schedules.ending_at(betas, last)
    alpha = np.sqrt(np.cumprod(1 - made))
    assert alpha[-1] == pytest.approx(last, abs=1e-6)
    assert alpha[0] == pytest.approx(np.sqrt(1 - betas[0]), rel=1e-6)
    zero = [np.cumprod(1 - schedules.zero_terminal_snr(b)) for b in (made, betas)]
    np.testing.assert_allclose(*zero, atol=1e-5)


@pytest.mark.parametrize("name", ["ddim", "euler", "heun", "lms", "pndm", "unipc", "dpmpp_2m", "lcm"])
def test_the_embedded_models_noise_ends_near_nothing_for_every_sampler(name):
    """Some samplers of diffusers do not rescale, and must still begin where next to nothing of a picture is left."""
    folder = resources.files("img2img_jax") / "assets" / "model" / "scheduler"
    config = json.loads((folder / "scheduler_config.json").read_text())
    schedule = Scheduler.from_config(config, name=name).schedule
    assert schedule.alpha(999) < 0.08
    assert abs(schedule.alpha(500) - 0.727) < 0.012


def test_trained_betas_win():
    betas = [0.1, 0.2, 0.3]
    config = SD | {"num_train_timesteps": 3, "trained_betas": betas}
    np.testing.assert_allclose(NoiseSchedule.from_config(config).alphas_cumprod, [0.9, 0.72, 0.504], rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"beta_schedule": "sigmoid"}, "'sigmoid' is not known; choose one of linear"),
        ({"trained_betas": [0.1]}, "1000"),
    ],
)
def test_refusals(change, match):
    with pytest.raises(ValueError, match=match):
        NoiseSchedule.from_config(SD | change)

"""Scheduler configurations and names."""

import numpy as np
import pytest

from img2img_jax.diffusion.scheduler import Scheduler
from img2img_jax.diffusion.solvers import CHECKPOINT_SCHEDULERS, SCHEDULERS

# What Stable Diffusion 1.5 ships as scheduler_config.json.
SD15 = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}


@pytest.mark.parametrize("class_name", CHECKPOINT_SCHEDULERS)
def test_the_checkpoints_own_scheduler(class_name):
    scheduler = Scheduler.from_config(SD15 | {"_class_name": class_name})
    assert type(scheduler.solver) is CHECKPOINT_SCHEDULERS[class_name]
    assert (scheduler.name, scheduler.prediction_type) == (class_name, "epsilon")
    assert scheduler.schedule.num_train_timesteps == 1000


@pytest.mark.parametrize("name", SCHEDULERS)
def test_names_mean_what_they_say_whatever_the_checkpoint_says(name):
    written = SD15 | {"use_karras_sigmas": "karras" not in name, "algorithm_type": "dpmsolver", "solver_order": 2}
    scheduler = Scheduler.from_config(written, name)
    config = scheduler.solver.config
    assert scheduler.name == name
    if "use_karras_sigmas" in config:
        assert config["use_karras_sigmas"] is ("karras" in name)
    if "algorithm_type" in config:
        assert config["algorithm_type"] == ("sde-dpmsolver++" if "sde" in name else "dpmsolver++")


def test_options_not_mentioned_take_the_defaults_of_the_class_that_reads_them():
    ddim = Scheduler.from_config({"_class_name": "PNDMScheduler", "beta_start": 0.00085}, "ddim").solver.config
    assert (ddim["clip_sample"], ddim["set_alpha_to_one"], ddim["steps_offset"]) == (True, True, 0)
    assert (ddim["beta_start"], ddim["beta_end"]) == (0.00085, 0.02)
    assert Scheduler.from_config(SD15, "euler").solver.config["timestep_spacing"] == "linspace"
    assert Scheduler.from_config(SD15, "ddim").solver.config["clip_sample"] is False


def test_a_steps_offset_of_zero_is_outdated_for_the_pipeline():
    assert Scheduler.from_config(SD15 | {"steps_offset": 0}).solver.config["steps_offset"] == 1
    assert Scheduler.from_config(SD15 | {"steps_offset": 0}, "euler").solver.config["steps_offset"] == 1


@pytest.mark.parametrize("name", ["pndm", "lms", "heun"])
def test_rescaling_is_ignored_where_diffusers_has_no_such_option(name):
    rescaled = Scheduler.from_config(SD15 | {"rescale_betas_zero_snr": True}, name).schedule
    assert rescaled.alphas_cumprod[-1] > 0
    assert Scheduler.from_config(SD15 | {"rescale_betas_zero_snr": True}, "ddim").schedule.alphas_cumprod[-1] == 0


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"thresholding": True}, "ddim"),
        ({"use_exponential_sigmas": True}, "euler"),
        ({"use_beta_sigmas": True}, "unipc"),
        ({"use_lu_lambdas": True}, "dpmpp_2m"),
        ({"use_flow_sigmas": True}, "unipc"),
        ({"interpolation_type": "log_linear"}, "euler"),
        ({"timestep_type": "continuous"}, "euler"),
        ({"sigma_max": 10.0}, "euler_karras"),
        ({"lambda_min_clipped": -5.1}, "dpmpp_2m"),
        ({"predict_x0": False}, "unipc"),
        ({"variance_type": "learned_range"}, "ddpm"),
        ({"variance_type": "learned"}, "dpmpp_2m_sde"),
        ({"prediction_type": "flow_prediction"}, "dpmpp_2m"),
        ({"timestep_spacing": "even"}, "ddim"),
        ({"final_sigmas_type": "one"}, "euler"),
        ({"solver_order": 4}, "unipc"),
        ({"skip_prk_steps": False}, None),
        ({"_class_name": "DPMSolverMultistepScheduler", "solver_order": 3}, None),
        ({"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "dpmsolver"}, None),
        ({"beta_schedule": "sigmoid"}, "ddpm"),
    ],
)
def test_what_is_not_implemented_is_refused_by_name(options, name):
    key, value = list(options.items())[-1]
    with pytest.raises(ValueError, match=f"{key}={value!r}.*(set it to|choose)"):
        Scheduler.from_config(SD15 | options, name)


def test_a_last_step_of_length_zero_is_refused():
    with pytest.raises(ValueError, match="length 0"):
        Scheduler.from_config(SD15 | {"final_sigmas_type": "sigma_min"}, "unipc_karras")


def test_unknown_names_are_refused_with_the_list():
    with pytest.raises(ValueError, match="'ddmi' is not known; choose one of ddim, ddpm, .*lcm"):
        Scheduler.from_config(SD15, "ddmi")
    with pytest.raises(ValueError, match="'EDMEulerScheduler' is not known; choose one by name: ddim"):
        Scheduler.from_config(SD15 | {"_class_name": "EDMEulerScheduler"})
    with pytest.raises(ValueError, match="None is not known"):
        Scheduler.from_config({})


def test_eta_is_ddims_and_does_something():
    ddim = Scheduler.from_config(SD15, "ddim")
    plain, stochastic = (ddim.table(0.5, 10, eta=eta)[0] for eta in (0.0, 0.7))
    assert not np.any(plain.x[..., -1]) and np.any(stochastic.x[..., -1])
    assert [ddim.table(0.5, 10, eta=eta)[1][0].noise_draws for eta in (0.0, 0.7)] == [0, 5]
    with pytest.raises(ValueError, match=r"eta=1.5 is not in the range \[0, 1\]"):
        ddim.table(0.5, 10, eta=1.5)
    with pytest.raises(ValueError, match="eta=0.5 has no meaning for scheduler 'euler'"):
        Scheduler.from_config(SD15, "euler").table(0.5, 10, eta=0.5)


def test_a_file_taken_verbatim_keeps_what_pipelines_of_sd_1_change():
    config = {"_class_name": "DDIMScheduler", "steps_offset": 3, "clip_sample": True}
    for verbatim, options in ((True, (3, True)), (False, (1, False))):
        solver = Scheduler.from_config(config, verbatim=verbatim).solver
        assert (solver.config["steps_offset"], solver.config["clip_sample"]) == options
        assert Scheduler.from_config(config, "euler", verbatim=verbatim).solver.config["steps_offset"] == options[0]

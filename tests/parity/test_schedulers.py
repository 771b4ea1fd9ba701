"""Every sampler against the diffusers class it is named after: same fake network, same noise, step by step."""

import diffusers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from img2img_jax.diffusion.guidance import guide
from img2img_jax.diffusion.sample import sample, start
from img2img_jax.diffusion.schedule import NoiseSchedule
from img2img_jax.diffusion.scheduler import Scheduler

SHAPE = (1, 4, 5, 3)  # [B, h, w, c]; odd sizes, so that no axis passes for another

# steps_offset 1 and clip_sample False: what StableDiffusionImg2ImgPipeline makes of any scheduler it is given.
SD = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "steps_offset": 1,
    "clip_sample": False,
    "set_alpha_to_one": False,
}

DPM, SDE = {"algorithm_type": "dpmsolver++"}, {"algorithm_type": "sde-dpmsolver++"}
KARRAS = {"use_karras_sigmas": True}
REFERENCES = {
    "ddim": (diffusers.DDIMScheduler, {}),
    "ddpm": (diffusers.DDPMScheduler, {}),
    "pndm": (diffusers.PNDMScheduler, {"skip_prk_steps": True}),
    "lms": (diffusers.LMSDiscreteScheduler, {}),
    "lms_karras": (diffusers.LMSDiscreteScheduler, KARRAS),
    "euler": (diffusers.EulerDiscreteScheduler, {}),
    "euler_karras": (diffusers.EulerDiscreteScheduler, KARRAS),
    "euler_a": (diffusers.EulerAncestralDiscreteScheduler, {}),
    "heun": (diffusers.HeunDiscreteScheduler, {}),
    "heun_karras": (diffusers.HeunDiscreteScheduler, KARRAS),
    "dpmpp_2m": (diffusers.DPMSolverMultistepScheduler, DPM),
    "dpmpp_2m_karras": (diffusers.DPMSolverMultistepScheduler, DPM | KARRAS),
    "dpmpp_2m_sde": (diffusers.DPMSolverMultistepScheduler, SDE),
    "dpmpp_2m_sde_karras": (diffusers.DPMSolverMultistepScheduler, SDE | KARRAS),
    "unipc": (diffusers.UniPCMultistepScheduler, {}),
    "unipc_karras": (diffusers.UniPCMultistepScheduler, KARRAS),
    "lcm": (diffusers.LCMScheduler, {}),
}


def fake_network(x, t, cos):
    """Something smooth in x and t that no solver could get right by accident."""
    return 0.6 * x + 0.3 * cos(x + 0.004 * t) - 0.1


class Drawn:
    """Stands in for diffusers' noise source: hands out given noise in order."""

    def __init__(self, noise):
        self.noise, self.used = noise, 0

    def __call__(self, *args, **kwargs):
        self.used += 1
        return torch.from_numpy(self.noise[self.used - 1])


def reference(monkeypatch, name, config, steps, strength, latents, noise, step_noise, eta=0.0, pure=False):
    """The loop of StableDiffusionImg2ImgPipeline around a diffusers scheduler; returns latents and draws used."""
    cls, extra = REFERENCES[name]
    scheduler = cls.from_config(config, **extra)
    drawn = Drawn(step_noise)
    module = __import__(cls.__module__, fromlist=["x"])
    if hasattr(module, "randn_tensor"):
        monkeypatch.setattr(module, "randn_tensor", drawn)
    scheduler.set_timesteps(steps)
    first = max(steps - min(int(steps * strength), steps), 0) * scheduler.order
    timesteps = scheduler.timesteps[first:]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    x0, eps = torch.from_numpy(latents), torch.from_numpy(noise)
    x = eps * scheduler.init_noise_sigma if pure else scheduler.add_noise(x0, eps, timesteps[:1])
    for t in timesteps:
        output = fake_network(scheduler.scale_model_input(x, t), t, torch.cos)
        x = scheduler.step(output, t, x, **({"eta": eta} if eta else {}), return_dict=False)[0]
    return x.numpy(), drawn.used, len(timesteps)


@jax.jit
def run(table, latents, noise, step_noise):
    x = start(table, latents, noise)
    return sample(lambda x, t: fake_network(x, t[:, None, None, None], jnp.cos), x, table, step_noise=step_noise)


def compare(monkeypatch, name, config, steps, strength, tolerance=1e-5, **options):
    rng = np.random.default_rng(0)
    latents, noise = rng.standard_normal((2, *SHAPE), np.float32)
    step_noise = rng.standard_normal((64, *SHAPE), np.float32)
    want, draws, evaluations = reference(
        monkeypatch, name, config, steps, strength, latents, noise, step_noise, **options
    )
    table, starts = Scheduler.from_config(config, name).table(
        strength, steps, noise_at_one="pure" if options.get("pure") else "leak", eta=options.get("eta", 0.0)
    )
    got = np.asarray(run(table, latents, noise, step_noise))
    error = np.linalg.norm(got - want) / np.linalg.norm(want)
    assert np.isfinite(want).all() and error < tolerance, f"relative error {error:.2e}"
    assert starts[0].network_evaluations == evaluations
    # diffusers also draws noise that it multiplies by 0, in a last step.
    assert draws - 1 <= starts[0].noise_draws <= draws
    assert starts[0].steps == min(int(steps * strength), steps)


@pytest.mark.parametrize("strength", [1.0, 0.95, 0.6, 0.1])
@pytest.mark.parametrize("name", REFERENCES)
def test_truncated_runs(monkeypatch, name, strength):
    compare(monkeypatch, name, SD, 20, strength)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 15, 50])
@pytest.mark.parametrize("name", REFERENCES)
def test_step_counts(monkeypatch, name, steps):
    compare(monkeypatch, name, SD, steps, 1.0)


# diffusers refuses "sample" for pndm and euler_a.
@pytest.mark.parametrize(
    ("name", "prediction_type"),
    [(name, "v_prediction") for name in REFERENCES]
    + [(name, "sample") for name in REFERENCES if name not in ("pndm", "euler_a")],
)
def test_prediction_types(monkeypatch, name, prediction_type):
    compare(monkeypatch, name, SD | {"prediction_type": prediction_type}, 12, 0.75)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("name", REFERENCES)
def test_spacings(monkeypatch, name, spacing):
    config = SD | {"timestep_spacing": spacing, "prediction_type": "v_prediction"}
    compare(monkeypatch, name, config, 14, 1.0)
    compare(monkeypatch, name, config, 14, 0.5)


@pytest.mark.parametrize("name", REFERENCES)
def test_pure_noise_starts_as_text_to_image_does(monkeypatch, name):
    for spacing in ("leading", "trailing", "linspace"):
        compare(monkeypatch, name, SD | {"timestep_spacing": spacing}, 9, 1.0, pure=True)


@pytest.mark.parametrize("name", REFERENCES)
def test_zero_terminal_snr(monkeypatch, name):
    config = SD | {
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
        "prediction_type": "v_prediction",
    }
    compare(monkeypatch, name, config, 10, 1.0)
    compare(monkeypatch, name, config, 10, 0.8)


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_ddim_eta(monkeypatch, eta):
    compare(monkeypatch, "ddim", SD, 12, 0.75, eta=eta)


@pytest.mark.parametrize("name", ["ddim", "ddpm"])
def test_clipping_where_the_checkpoint_does_not_mention_it(monkeypatch, name):
    config = {key: value for key, value in SD.items() if key != "clip_sample"}
    compare(monkeypatch, name, config, 12, 0.75)


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize(
    "options",
    [
        {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"trained_betas": np.linspace(0.001, 0.02, 1000).tolist()},
        {"set_alpha_to_one": True},
    ],
    ids=lambda options: next(iter(options)) + "-" + str(options.get("beta_schedule", "")),
)
def test_schedules(monkeypatch, name, options):
    # The cosine schedule goes to sigma / alpha = 20000, where diffusers' own float32 has lost five digits.
    tolerance = 1e-4 if options.get("beta_schedule") == "squaredcos_cap_v2" else 1e-5
    compare(monkeypatch, name, SD | {"prediction_type": "v_prediction"} | options, 10, 0.8, tolerance)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ddpm", {"variance_type": "fixed_large"}),
        ("ddpm", {"variance_type": "fixed_small_log"}),
        ("ddpm", {"variance_type": None}),
        ("euler", {"final_sigmas_type": "sigma_min"}),
        ("dpmpp_2m", {"final_sigmas_type": "sigma_min"}),
        ("dpmpp_2m_karras", {"final_sigmas_type": "sigma_min"}),
        ("dpmpp_2m", {"solver_type": "heun"}),
        ("dpmpp_2m", {"solver_type": "bh2"}),
        ("dpmpp_2m_sde", {"solver_type": "heun"}),
        ("dpmpp_2m", {"euler_at_final": True, "final_sigmas_type": "sigma_min"}),
        ("dpmpp_2m", {"lower_order_final": False, "final_sigmas_type": "sigma_min"}),
        ("unipc", {"solver_order": 3}),
        ("unipc", {"solver_order": 1}),
        ("unipc", {"solver_type": "bh1", "final_sigmas_type": "sigma_min"}),
        ("unipc", {"solver_type": "midpoint"}),
        ("unipc", {"final_sigmas_type": "sigma_min", "lower_order_final": False}),
        ("unipc", {"disable_corrector": [0, 4]}),
        ("lcm", {"original_inference_steps": 100, "timestep_scaling": 1.0}),
    ],
)
def test_solver_options(monkeypatch, name, options):
    for steps in (10, 16):
        compare(monkeypatch, name, SD | options, steps, 1.0)
        compare(monkeypatch, name, SD | options, steps, 0.7)


@pytest.mark.parametrize("name", REFERENCES)
def test_time_grids(name):
    """Every timestep of grids of every kind of length, not only those a short run happens to feel."""
    cls, extra = REFERENCES[name]
    for spacing in ("leading", "trailing", "linspace"):
        config = SD | {"timestep_spacing": spacing}
        scheduler, solver = cls.from_config(config, **extra), Scheduler.from_config(config, name).solver
        for steps in (4, 11, 28, 30, 37, 50) if name == "lcm" else (4, 11, 28, 30, 37, 50, 64, 99, 150):
            scheduler.set_timesteps(steps)
            ours = [row.timestep for row in solver.rows(solver.grid(steps), 0)]
            np.testing.assert_allclose(ours, scheduler.timesteps.numpy(), rtol=1e-5, atol=1e-3, err_msg=str(steps))


def test_noise_schedule_tables():
    options = [
        {},
        {"beta_schedule": "linear"},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"rescale_betas_zero_snr": True},
    ]
    for option in options:
        theirs = diffusers.DDIMScheduler.from_config(SD | option).alphas_cumprod.numpy()
        ours = NoiseSchedule.from_config(SD | option).alphas_cumprod
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-9, err_msg=str(option))


WRITTEN = {
    "sd15": {"_class_name": "PNDMScheduler", **SD, "skip_prk_steps": True},
    "bare": {"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear", "beta_start": 0.00085},
    **{
        cls.__name__: {"_class_name": cls.__name__, **cls().config}
        for cls in dict.fromkeys(cls for cls, _ in REFERENCES.values())
    },
    "v_zero_snr": {
        "_class_name": "DDIMScheduler",
        **SD,
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
    },
}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
def test_configurations_are_read_as_the_pipeline_reads_them(written):
    """Through StableDiffusionImg2ImgPipeline's own constructor, then exchanged as its users exchange schedulers."""
    written = {key: value for key, value in written.items() if key != "_use_default_values"}  # files have none
    own_class = getattr(diffusers, written["_class_name"])
    parts = dict.fromkeys(("vae", "text_encoder", "tokenizer", "unet", "safety_checker", "feature_extractor"))
    pipe = diffusers.StableDiffusionImg2ImgPipeline(
        **parts, scheduler=own_class.from_config(written), requires_safety_checker=False
    )
    if written.get("skip_prk_steps", True):
        same_options(Scheduler.from_config(written), pipe.scheduler)
    for name, (cls, extra) in REFERENCES.items():
        if cls is not own_class:
            same_options(Scheduler.from_config(written, name), cls.from_config(pipe.scheduler.config, **extra))


def same_options(ours, theirs):
    for key, value in ours.solver.config.items():
        want = theirs.config[key]
        assert value == want or (not value and not want), (ours.name, key, value, want)


def test_guidance_rescale():
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

    uncond, cond = np.random.default_rng(0).standard_normal((2, 3, 4, 5, 2)).astype(np.float32)
    guided = guide(uncond, cond, 7.5)
    want = rescale_noise_cfg(torch.from_numpy(np.array(guided)), torch.from_numpy(cond), guidance_rescale=0.7)
    np.testing.assert_allclose(guide(uncond, cond, 7.5, 0.7), want.numpy(), rtol=1e-5, atol=1e-6)

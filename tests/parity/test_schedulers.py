"""Every sampler against the diffusers class it is named after: same fake network, same noise, step by step."""

import diffusers
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from img2img_jax.diffusion.sample import sample, start
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


def ours(name, config, steps, strength, latents, noise, step_noise, eta=0.0, pure=False):
    scheduler = Scheduler.from_config(config, name)
    table, starts = scheduler.table(strength, steps, noise_at_one="pure" if pure else "leak", eta=eta)
    x = start(table, latents, noise)
    x = sample(lambda x, t: fake_network(x, t[:, None, None, None], jnp.cos), x, table, step_noise=step_noise)
    return np.asarray(x), starts[0]


def compare(monkeypatch, name, config, steps, strength, tolerance=2e-5, **options):
    rng = np.random.default_rng(0)
    latents, noise = rng.standard_normal((2, *SHAPE), np.float32)
    step_noise = rng.standard_normal((steps + 1, *SHAPE), np.float32)
    arguments = (name, config, steps, strength, latents, noise, step_noise)
    want, draws, evaluations = reference(monkeypatch, *arguments, **options)
    got, resolved = ours(*arguments, **options)
    error = np.linalg.norm(got - want) / np.linalg.norm(want)
    assert np.isfinite(want).all() and error < tolerance, f"relative error {error:.2e}"
    assert resolved.network_evaluations == evaluations
    return resolved, draws


@pytest.mark.parametrize("strength", [1.0, 0.95, 0.6, 0.1])
@pytest.mark.parametrize("name", REFERENCES)
def test_truncated_runs(monkeypatch, name, strength):
    resolved, _ = compare(monkeypatch, name, SD, 20, strength)
    assert resolved.steps == int(20 * strength)

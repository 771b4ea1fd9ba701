"""The models that ship with the package: PyTorch diffusers loads the same folders and makes the same pictures."""

import diffusers
import numpy as np
import pytest
import torch

from img2img_jax import Img2ImgPipeline
from img2img_jax.checkpoints import EMBEDDED, EMBEDDED_MODEL
from img2img_jax.images import load_image

STEPS = 8
DEMO = EMBEDDED_MODEL.with_name("demo")
OPTIONS = dict(
    prompt=["a red heart", "a yellow star"],
    negative_prompt=["blue", ""],
    num_inference_steps=STEPS,
    guidance_scale=4.0,
)


@pytest.fixture(scope="module", params=EMBEDDED)
def model(request):
    return request.param


@pytest.fixture(scope="module")
def ours(model):
    return Img2ImgPipeline.from_pretrained(model)


@pytest.fixture(scope="module")
def theirs(model):
    pipe = diffusers.StableDiffusionImg2ImgPipeline.from_pretrained(EMBEDDED[model], use_safetensors=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def images(ours):
    size = (ours.native_size, ours.native_size)
    names = ("picture.png", "drawing.png")
    return np.stack([np.asarray(load_image(DEMO / name).resize(size), np.float32) / 255 for name in names])


def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def noise(ours):
    """What diffusers draws from its generator, in turn."""
    source, side = generator(), ours.native_size // ours.vae_scale_factor
    shape = (2, ours.vae.config.latent_channels, side, side)
    draws = [np.moveaxis(torch.randn(shape, generator=source).numpy(), 1, -1) for _ in range(STEPS + 3)]
    return {"posterior_noise": draws[0], "noise": draws[1], "step_noise": np.stack(draws[2:])}


@pytest.mark.parametrize("strength", [0.4, 0.8])
@pytest.mark.parametrize("scheduler", [None, "dpmpp_2m_karras"])
def test_pictures_are_those_of_diffusers(model, ours, theirs, images, noise, scheduler, strength):
    if scheduler and model == "emoji-lcm":
        pytest.skip("distilled for its own sampler")
    own = theirs.scheduler
    if scheduler is not None:
        theirs.scheduler = diffusers.DPMSolverMultistepScheduler.from_config(own.config, use_karras_sigmas=True)
    try:
        wanted = theirs(**OPTIONS, image=images, strength=strength, generator=generator(), output_type="np").images
    finally:
        theirs.scheduler = own
    found = ours(**OPTIONS, **noise, image=images, strength=strength, scheduler=scheduler, output_type="np").images
    psnr = -10 * np.log10(np.mean((found - wanted) ** 2, axis=(1, 2, 3)) + 1e-12)
    print(f"PSNR {psnr} dB")
    assert psnr.min() > 50
    # Nothing is proved by two blank pictures.
    assert wanted.std(axis=(1, 2, 3)).min() > 0.02

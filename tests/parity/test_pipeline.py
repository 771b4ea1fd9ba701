"""Whole pipelines against PyTorch diffusers': same checkpoint folder, same prompts and pictures, same noise."""

import dataclasses
import functools

import diffusers
import numpy as np
import pytest
import torch
import transformers
from diffusers import StableDiffusionImg2ImgPipeline as ImageToImage
from diffusers import StableDiffusionPipeline as TextToImage

from img2img_jax import Img2ImgPipeline
from img2img_jax.diffusion.solvers import CHECKPOINT_SCHEDULERS, SCHEDULERS
from img2img_jax.testing.tiny import SCHEDULER_CONFIG, letter_tokenizer

BOUND = 1e-4
"""On latents, relative error; what is measured is printed, and lies below 1e-5."""

STEPS = 8
LATENTS = (2, 4, 6, 4)  # of pictures 16 high and 24 wide
PROMPTS = ["a red cat", "two green dogs"]
NEGATIVES = ["grey", "ugly, blurred"]

IMAGES = np.random.default_rng(7).random((2, 16, 24, 3), np.float32)


def generator():
    """The source of all noise: PyTorch's pipelines draw from it in turn."""
    return torch.Generator().manual_seed(11)


def noise(pipeline_class):
    """What that pipeline draws, for ours: of its picture's posterior if it takes one, of the start, of the steps."""
    source = generator()
    b, h, w, c = LATENTS
    # Some schedulers draw once more than they need.
    draws = [np.moveaxis(torch.randn(b, c, h, w, generator=source).numpy(), 1, -1) for _ in range(STEPS + 3)]
    posterior = draws.pop(0) if pipeline_class is ImageToImage else None
    return {"posterior_noise": posterior, "noise": draws[0], "step_noise": np.stack(draws[1:])}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """PyTorch's pipeline, and ours loaded from the folder it was saved to."""

    torch_pipe: ImageToImage
    ours: Img2ImgPipeline

    def torch_scheduler(self, name):
        """The scheduler of our name, configured from the checkpoint's as diffusers' users do it."""
        config = self.torch_pipe.scheduler.config
        if name is None:
            return type(self.torch_pipe.scheduler).from_config(config)
        solver, overrides = SCHEDULERS[name]
        class_name = next(key for key, value in CHECKPOINT_SCHEDULERS.items() if value is solver)
        return getattr(diffusers, class_name).from_config(config, **overrides)

    def reference(self, name, pipeline_class, **arguments):
        """Latents [B, h, w, c] of a PyTorch pipeline made of the same parts."""
        scheduler = self.torch_scheduler(name)
        pipe = pipeline_class(**self.torch_pipe.components | {"scheduler": scheduler}, requires_safety_checker=False)
        pipe.set_progress_bar_config(disable=True)
        latents = pipe(
            num_inference_steps=STEPS, generator=generator(), output_type="latent", return_dict=False, **arguments
        )[0]
        return np.moveaxis(latents.numpy(), 1, -1)

    def check(self, name, pipeline_class=ImageToImage, strength=1.0, **arguments):
        """Compares latents; a text-to-image pipeline is our strength 1 from pure noise."""
        from_image = pipeline_class is ImageToImage
        arguments |= dict(prompt=PROMPTS, negative_prompt=NEGATIVES)
        size = {"image": IMAGES, "strength": strength} if from_image else {"height": 16, "width": 24}
        wanted = self.reference(name, pipeline_class, **arguments, **size)
        found = self.ours(
            image=IMAGES,
            strength=strength,
            scheduler=name,
            num_inference_steps=STEPS,
            noise_at_one="leak" if from_image else "pure",
            output_type="latent",
            **arguments | noise(pipeline_class),
        ).latents
        error = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
        print(f"{name} {pipeline_class.__name__} {strength}: relative error {error:.1e}")
        assert np.isfinite(wanted).all() and found.shape == wanted.shape
        assert error < BOUND


def text_encoder(tokenizer):
    torch.manual_seed(0)
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=16,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=3,
        eos_token_id=tokenizer.eos_token_id,
    )
    return transformers.CLIPTextModel(config).eval()


@pytest.fixture(scope="module")
def pair(checkpoint, tmp_path_factory):
    """A pair by the name of its UNet and its scheduler's class and options, made once."""

    @functools.cache
    def build(unet, scheduler_class="DDIMScheduler", prediction_type="epsilon"):
        tokenizer = letter_tokenizer()
        config = SCHEDULER_CONFIG | {"_class_name": scheduler_class, "prediction_type": prediction_type}
        pipe = ImageToImage(
            vae=checkpoint("vae").torch_model,
            unet=checkpoint(unet).torch_model,
            text_encoder=text_encoder(tokenizer),
            tokenizer=tokenizer,
            scheduler=getattr(diffusers, scheduler_class).from_config(config),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        folder = tmp_path_factory.mktemp(unet)
        pipe.save_pretrained(folder)
        # Loaded, not kept: until it is saved, diffusers holds options that were not given for undecided.
        return Pair(torch_pipe=ImageToImage.from_pretrained(folder), ours=Img2ImgPipeline.from_pretrained(folder))

    return build


# Grids entered late, in the middle, and at the first step with the picture leaking through.
@pytest.mark.parametrize("strength", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("name", [None, *SCHEDULERS])
def test_stable_diffusion_1(pair, name, strength):
    pair("unet_sd1").check(name, strength=strength, guidance_scale=4.0)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_stable_diffusion_2_predicts_v(pair, name):
    """Linear projections, another number of heads in every block, v_prediction."""
    pair("unet_sd2", prediction_type="v_prediction").check(name, strength=0.7, guidance_scale=4.0)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_text_to_image_is_strength_one(pair, name):
    """The picture we are given is not even an argument of theirs."""
    pair("unet_sd1").check(name, TextToImage, guidance_scale=4.0)


@pytest.mark.parametrize("guidance_scale", [1.0, 8.0])
@pytest.mark.parametrize("name", [None, "ddim", "euler_a"])
def test_latent_consistency_model(pair, name, guidance_scale):
    pair("unet_lcm", scheduler_class="LCMScheduler").check(name, strength=0.6, guidance_scale=guidance_scale)


def test_stochastic_ddim(pair):
    pair("unet_sd1").check("ddim", strength=0.6, eta=0.8)


def test_guidance_switched_off(pair):
    pair("unet_sd1").check("dpmpp_2m", strength=0.6, guidance_scale=1.0)


def test_guidance_rescale(pair):
    """Theirs has it in the text-to-image pipeline only."""
    pair("unet_sd1").check("ddim", TextToImage, guidance_scale=6.0, guidance_rescale=0.7)


def test_pictures(pair):
    """Decoded as well, down to the 8 bits of a PIL image."""
    both = pair("unet_sd1")
    arguments = dict(prompt=PROMPTS, image=IMAGES, strength=0.6, num_inference_steps=STEPS, output_type="pil")
    pipe = both.torch_pipe
    pipe.set_progress_bar_config(disable=True)
    wanted = pipe(**arguments, generator=generator()).images
    found = both.ours(**arguments, **noise(ImageToImage)).images
    for ours, theirs in zip(found, wanted, strict=True):
        difference = np.abs(np.asarray(ours, int) - np.asarray(theirs, int))
        assert ours.size == theirs.size == (24, 16)
        assert difference.max() <= 1 and np.mean(difference > 0) < 0.01

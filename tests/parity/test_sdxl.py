"""SDXL base, refiner and Turbo against PyTorch diffusers': same folder, prompts, sizes, pictures and noise."""

import dataclasses
import functools

import diffusers
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from diffusers import StableDiffusionXLImg2ImgPipeline as ImageToImage
from diffusers import StableDiffusionXLPipeline as TextToImage
from flax import nnx

from img2img_jax import Img2ImgPipeline
from img2img_jax.checkpoints import read_json
from img2img_jax.checkpoints.component import abstract
from img2img_jax.checkpoints.parameters import key_of, torch_shape
from img2img_jax.diffusion.solvers import CHECKPOINT_SCHEDULERS, SCHEDULERS
from img2img_jax.models import UNet2DConditionModel
from img2img_jax.testing.tiny import SCHEDULER_CONFIG, letter_tokenizer

BOUND = 1e-4
"""On latents, relative error; what is measured is printed, and lies below 1e-5."""

BFLOAT16_BOUND = 0.05
"""The same in bfloat16; 8 bits of mantissa through 8 guided steps of a random network."""

STEPS = 8
HEIGHT, WIDTH = 16, 24
LATENTS = (2, 8, 12, 4)
IMAGES = np.random.default_rng(7).random((2, HEIGHT, WIDTH, 3), np.float32)
TEXTS = dict(prompt=["a red cat", "two green dogs"], negative_prompt=["grey", "ugly, blurred"])
SIZES = dict(
    original_size=(20, 31),
    crops_coords_top_left=(2, 5),
    target_size=(14, 23),
    negative_original_size=(40, 7),
    negative_target_size=(9, 50),
)
SCORES = dict(original_size=(20, 31), crops_coords_top_left=(2, 5), aesthetic_score=7.5, negative_aesthetic_score=1.5)
# Neither offset nor clipping is what a pipeline of SD 1.x would make of this file.
EULER = SCHEDULER_CONFIG | {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading", "steps_offset": 3}
TURBO = SCHEDULER_CONFIG | {"_class_name": "EulerAncestralDiscreteScheduler", "timestep_spacing": "trailing"}


def channels_last(values):
    return np.moveaxis(values.float().numpy(), 1, -1)


def noise(posterior, start=True):
    """What a PyTorch pipeline draws, in turn: of the posterior if it encodes a picture, of the start, of the steps.

    What it does not draw is zeros, so that our programs are always given the same.
    """
    source = torch.Generator().manual_seed(11)
    b, h, w, c = LATENTS
    draws = iter([channels_last(torch.randn(b, c, h, w, generator=source)) for _ in range(STEPS + 2)])
    posterior_noise, start_noise = (next(draws) if drawn else np.zeros(LATENTS) for drawn in (posterior, start))
    return {"posterior_noise": posterior_noise, "noise": start_noise, "step_noise": np.stack([*draws][:STEPS])}


def check(found, wanted, bound=BOUND):
    error = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
    print(f"relative error {error:.1e}")
    assert found.shape == wanted.shape and np.isfinite(wanted).all()
    assert error < bound
    return error


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """PyTorch's pipeline, the folder it was saved to, and ours loaded from there."""

    torch_pipe: TextToImage
    folder: str
    ours: Img2ImgPipeline

    def reference(self, pipeline_class, name=None, **arguments):
        """Latents [B, h, w, c] of a PyTorch pipeline made of the same parts."""
        config = self.torch_pipe.scheduler.config
        scheduler = type(self.torch_pipe.scheduler).from_config(config)
        if name is not None:
            solver, overrides = SCHEDULERS[name]
            class_name = next(key for key, value in CHECKPOINT_SCHEDULERS.items() if value is solver)
            scheduler = getattr(diffusers, class_name).from_config(config, **overrides)
        flags = dict(force_zeros_for_empty_prompt=self.torch_pipe.config.force_zeros_for_empty_prompt)
        if pipeline_class is ImageToImage:
            flags["requires_aesthetics_score"] = self.torch_pipe.config.get("requires_aesthetics_score", False)
        pipe = pipeline_class(**self.torch_pipe.components | {"scheduler": scheduler}, add_watermarker=False, **flags)
        pipe.set_progress_bar_config(disable=True)
        shared = dict(generator=torch.Generator().manual_seed(11), output_type="latent", return_dict=False)
        return channels_last(pipe(**dict(num_inference_steps=STEPS) | shared | arguments)[0])

    def found(self, **arguments):
        """Ours, noised as theirs from pictures."""
        defaults = dict(num_inference_steps=STEPS, output_type="latent", noise_at_one="leak")
        return self.ours(**defaults | arguments).latents

    def from_noise(self, **arguments):
        """Ours as text-to-image: the picture, which theirs is not even given, has no say."""
        return self.found(image=IMAGES, strength=1, **noise(False) | dict(noise_at_one="pure") | arguments)

    def check(self, bound=BOUND, **arguments):
        """From pictures; with strengths of its own each sample is compared with a call of its strength."""
        strengths = arguments.pop("strength", [0.4, 0.8])
        calls = [self.reference(ImageToImage, image=IMAGES, strength=s, **arguments) for s in strengths]
        wanted = np.stack([latents[b] for b, latents in enumerate(calls)])
        return check(self.found(image=IMAGES, strength=strengths, **noise(True) | arguments), wanted, bound)


def text_encoder(model_class, tokenizer, **config):
    return model_class(
        transformers.CLIPTextConfig(
            vocab_size=len(tokenizer),
            max_position_embeddings=16,
            intermediate_size=40,
            num_hidden_layers=3,
            eos_token_id=tokenizer.eos_token_id,
            **config,
        )
    ).eval()


def components(checkpoint, kind):
    """Those of a pipeline, every one of them random."""
    torch.manual_seed(0)
    first, second = letter_tokenizer(), letter_tokenizer()
    second.pad_token = "!"  # as SDXL's second tokenizer pads
    shape = dict(hidden_size=16, num_attention_heads=2, hidden_act="gelu", projection_dim=20)
    parts = dict(
        vae=checkpoint("vae_sdxl").torch_model,
        unet=checkpoint("unet_sdxl_refiner" if kind == "refiner" else "unet_sdxl").torch_model,
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=text_encoder(transformers.CLIPTextModelWithProjection, second, **shape),
        tokenizer_2=second,
        scheduler=None,
    )
    if kind != "refiner":
        shape = dict(hidden_size=24, num_attention_heads=3)
        parts |= dict(text_encoder=text_encoder(transformers.CLIPTextModel, first, **shape), tokenizer=first)
    config = TURBO if kind == "turbo" else EULER
    return parts | dict(scheduler=getattr(diffusers, config["_class_name"]).from_config(config))


@pytest.fixture(scope="module")
def pair(checkpoint, tmp_path_factory):
    """A pair by its kind, made once."""

    @functools.cache
    def build(kind):
        flags = dict(force_zeros_for_empty_prompt=kind != "refiner", add_watermarker=False)
        pipeline_class = TextToImage
        if kind == "refiner":
            pipeline_class, flags["requires_aesthetics_score"] = ImageToImage, True
        folder = tmp_path_factory.mktemp(kind)
        pipeline_class(**components(checkpoint, kind), **flags).save_pretrained(folder)
        # Loaded, not kept: until it is saved, diffusers holds options that were not given for undecided.
        loaded = pipeline_class.from_pretrained(folder, add_watermarker=False)
        return Pair(torch_pipe=loaded, folder=folder, ours=Img2ImgPipeline.from_pretrained(folder))

    return build


def test_base(pair):
    pair("base").check(guidance_scale=5.0, **TEXTS, **SIZES)


def test_base_without_negative_prompt_or_sizes(pair):
    """Zeros for the negative prompt, the picture's own size for all sizes."""
    pair("base").check(guidance_scale=5.0, prompt=TEXTS["prompt"])


def test_base_with_texts_for_each_encoder(pair):
    second = dict(prompt_2=["a house", "trees"], negative_prompt_2=["blue", "x"])
    changed = pair("base").found(image=IMAGES, strength=0.4, **noise(True), **TEXTS, **second)
    assert np.linalg.norm(changed - pair("base").found(image=IMAGES, strength=0.4, **noise(True), **TEXTS)) > 1e-2
    pair("base").check(guidance_scale=5.0, **TEXTS, **second)


def test_clip_skip(pair):
    """Counted from the last but one; the negative prompt keeps its layers."""
    pair("base").check(guidance_scale=5.0, clip_skip=1, **TEXTS)


def test_text_to_image_is_strength_one(pair):
    """Negative sizes and a negative crop, one sample after the other: theirs mixes up the sizes of a batch."""
    sizes, drawn = SIZES | dict(negative_crops_coords_top_left=(7, 1)), noise(False)
    wanted = []
    for b in range(2):
        texts = {name: values[b] for name, values in TEXTS.items()}
        latents = torch.from_numpy(np.moveaxis(drawn["noise"][b : b + 1], -1, 1).copy())
        shape = dict(height=HEIGHT, width=WIDTH, latents=latents)
        wanted.append(pair("base").reference(TextToImage, guidance_scale=5.0, **shape, **texts, **sizes)[0])
    check(pair("base").from_noise(guidance_scale=5.0, **TEXTS, **sizes), np.stack(wanted))


def test_embeds_given(pair):
    draw = np.random.default_rng(3).standard_normal
    given = {}
    for sign in ("", "negative_"):
        given[f"{sign}prompt_embeds"] = draw((2, 16, 40), np.float32)
        given[f"{sign}pooled_prompt_embeds"] = draw((2, 20), np.float32)
    tensors = {name: torch.from_numpy(values) for name, values in given.items()}
    options = dict(prompt=None, image=IMAGES, strength=0.5, guidance_scale=5.0)
    wanted = pair("base").reference(ImageToImage, **options, **tensors)
    check(pair("base").found(**options, **noise(True) | given), wanted)


def test_refiner(pair):
    pair("refiner").check(guidance_scale=5.0, **TEXTS, **SCORES)


def test_refiner_without_negative_prompt_or_scores(pair):
    """The empty text for the negative prompt; scores 6 and 2.5."""
    pair("refiner").check(guidance_scale=5.0, prompt=TEXTS["prompt"])


@pytest.mark.parametrize(("steps", "strengths"), [(2, [0.5, 1.0]), (4, [0.3, 0.75])])
def test_turbo(pair, steps, strengths):
    pair("turbo").check(
        strength=strengths,
        num_inference_steps=steps,
        guidance_scale=0.0,
        prompt=TEXTS["prompt"],
        original_size=(64, 99),
    )


@pytest.mark.parametrize(
    ("name", "fraction"), [(None, 0.8), ("ddim", 0.4), ("dpmpp_2m", 0.6), ("euler_a", 0.6), ("lms_karras", 0.5)]
)
def test_handover(pair, name, fraction):
    """Base to refiner, both ends as diffusers cuts them, with latents in between that either takes from the other."""
    base, refiner = pair("base"), pair("refiner")
    texts = dict(guidance_scale=5.0, **TEXTS)
    wanted = base.reference(TextToImage, name, height=HEIGHT, width=WIDTH, denoising_end=fraction, **texts)
    found = base.from_noise(scheduler=name, denoising_end=fraction, **texts)
    check(found, wanted)

    noisy = torch.from_numpy(np.moveaxis(wanted, -1, 1).copy())
    wanted = refiner.reference(ImageToImage, name, image=noisy, denoising_start=fraction, **texts)
    options = dict(denoising_start=fraction, scheduler=name) | noise(False, start=False) | dict(posterior_noise=None)
    check(refiner.found(image=found, **options, **texts), wanted)


def test_handover_both_ways_from_a_picture(pair):
    """A middle part of the schedule, and pictures noised by strength of which the last part is left."""
    refiner = pair("refiner")
    texts = dict(guidance_scale=5.0, **TEXTS)
    between = dict(denoising_start=0.2, denoising_end=0.7)
    wanted = refiner.reference(ImageToImage, image=IMAGES, **between, **texts)
    check(refiner.found(image=IMAGES, **between, **texts, **noise(True, start=False)), wanted)
    refiner.check(strength=[0.6, 0.9], denoising_end=0.8, **texts)


def test_pictures(pair):
    """Decoded as well, down to the 8 bits of a PIL image."""
    arguments = dict(
        image=IMAGES, strength=0.6, num_inference_steps=STEPS, output_type="pil", guidance_scale=5.0, **TEXTS
    )
    base = pair("base")
    pipe = ImageToImage(**base.torch_pipe.components, add_watermarker=False)
    pipe.set_progress_bar_config(disable=True)
    wanted = pipe(**arguments, generator=torch.Generator().manual_seed(11)).images
    for ours, theirs in zip(base.ours(**arguments, **noise(True)).images, wanted, strict=True):
        difference = np.abs(np.asarray(ours, int) - np.asarray(theirs, int))
        assert ours.size == theirs.size == (WIDTH, HEIGHT)
        assert difference.max() <= 1 and np.mean(difference > 0) < 0.01


def test_bfloat16(pair):
    base = pair("base")
    half = dataclasses.replace(base, ours=Img2ImgPipeline.from_pretrained(base.folder, dtype=jnp.bfloat16))
    assert half.check(bound=BFLOAT16_BOUND, guidance_scale=5.0, **TEXTS, **SIZES) > 1e-4


def test_what_we_save_loads_in_pytorch(pair, tmp_path):
    """The refiner, whose first encoder is absent."""
    pair("refiner").ours.save_pretrained(tmp_path)
    saved = ImageToImage.from_pretrained(tmp_path, add_watermarker=False)
    assert saved.text_encoder is None and saved.tokenizer is None
    assert saved.config.requires_aesthetics_score and not saved.config.force_zeros_for_empty_prompt
    loaded = dataclasses.replace(pair("refiner"), torch_pipe=saved)
    loaded.check(guidance_scale=5.0, **TEXTS, **SCORES)


FULL_SIZE = {
    "base": dict(
        block_out_channels=[320, 640, 1280],
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        attention_head_dim=[5, 10, 20],
        transformer_layers_per_block=[1, 2, 10],
        cross_attention_dim=2048,
        projection_class_embeddings_input_dim=1280 + 6 * 256,
    ),
    "refiner": dict(
        block_out_channels=[384, 768, 1536, 1536],
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        up_block_types=["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        attention_head_dim=[6, 12, 24, 24],
        transformer_layers_per_block=4,
        cross_attention_dim=1280,
        projection_class_embeddings_input_dim=1280 + 5 * 256,
    ),
}
"""What the published UNets have in their ``config.json`` that is not the default."""


@pytest.mark.parametrize("kind", FULL_SIZE)
def test_keys_and_shapes_of_the_full_size(kind, tmp_path):
    with torch.device("meta"):
        theirs = diffusers.UNet2DConditionModel(
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            use_linear_projection=True,
            sample_size=128,
            **FULL_SIZE[kind],
        )
    theirs.save_config(tmp_path)
    config = read_json(tmp_path / "config.json")
    ours = nnx.to_flat_state(nnx.state(abstract(UNet2DConditionModel, config, tmp_path, jnp.float32)))
    found = {key_of(path): torch_shape(path, value.shape) for path, value in ours}
    assert found == {key: tuple(value.shape) for key, value in theirs.state_dict().items()}

"""Whole pipelines against PyTorch diffusers': same checkpoint folder, same prompts and pictures, same noise."""

import dataclasses
import functools
import itertools
import re

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

    def check(self, name, pipeline_class=ImageToImage, strength=1.0, *, ours=None, **arguments):
        """Compares latents; a text-to-image pipeline is our strength 1 from pure noise.

        ``ours`` is given to our pipeline only, the other arguments to both.
        """
        from_image = pipeline_class is ImageToImage
        arguments = dict(prompt=PROMPTS, negative_prompt=NEGATIVES) | arguments
        size = {"image": IMAGES, "strength": strength} if from_image else {"height": 16, "width": 24}
        wanted = self.reference(name, pipeline_class, **arguments, **size)
        found = self.ours(
            image=IMAGES,
            strength=strength,
            scheduler=name,
            num_inference_steps=STEPS,
            noise_at_one="leak" if from_image else "pure",
            output_type="latent",
            **arguments | noise(pipeline_class) | (ours or {}),
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
    model = transformers.CLIPTextModel(config).eval()
    # States of mean zero, as a fresh norm gives them, could not be scaled back to their mean.
    torch.nn.init.normal_(model.final_layer_norm.bias, mean=-0.2, std=0.1)
    return model


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


@pytest.mark.parametrize("clip_skip", [0, 1, 2])
def test_clip_skip(pair, clip_skip, monkeypatch):
    # Where diffusers looks for the final norm; transformers 5 has no such layer between any more.
    monkeypatch.setattr(transformers.CLIPTextModel, "text_model", property(lambda model: model), raising=False)
    pair("unet_sd1").check("ddim", strength=0.6, clip_skip=clip_skip)


def test_clip_skip_of_both_prompts(pair):
    """The web UI's way: diffusers lets the negative prompt keep its layers."""
    both = pair("unet_sd1")
    texts = dict(prompt=PROMPTS, negative_prompt=NEGATIVES)
    given = {f"{name}_embeds": penultimate_states(both.torch_pipe, column) for name, column in texts.items()}
    ours = texts | dict.fromkeys(given) | dict(clip_skip=1, prompt_syntax="a1111")
    both.check("ddim", strength=0.6, ours=ours, **dict.fromkeys(texts), **given)


@torch.no_grad()
def penultimate_states(pipe, texts):
    ids = pipe.tokenizer(texts, padding="max_length", return_tensors="pt").input_ids
    return pipe.text_encoder.final_layer_norm(pipe.text_encoder(ids, output_hidden_states=True).hidden_states[-2])


def test_weights_and_chunks(pair):
    """Mixed numbers of chunks; the states are made by transformers after the rules as the web UI documents them."""
    both = pair("unet_sd1")
    prompts = [r"a (red:1.4), ((big) wide) [cat] BREAK \(on\) a mat", "two [green, red] dogs, or (three"]
    negatives = ["(ugly:0.5)", "a (blurred picture of two large dogs, in [grey], and much more, of (all:1.2))"]
    states = [[a1111_states(both.torch_pipe, text) for text in texts] for texts in (prompts, negatives)]
    counts = [[len(state) for state in column] for column in states]
    assert counts == [[3, 2], [1, 4]]
    filled = [[a1111_filled(both.torch_pipe, state, 4) for state in column] for column in states]
    given = dict(zip(("prompt_embeds", "negative_prompt_embeds"), map(torch.stack, filled), strict=True))
    texts = dict(prompt=prompts, negative_prompt=negatives, prompt_syntax="a1111")
    arguments = dict(prompt=None, negative_prompt=None) | given
    both.check("ddim", strength=0.6, ours=texts | dict.fromkeys(given), **arguments)


def a1111_weights(prompt):
    """Each character of a prompt with its weight, brackets and escapes removed."""
    characters, opened, place = [], [], 0
    while place < len(prompt):
        character = prompt[place]
        factor = None
        if character == "\\":
            place += 1
            characters.append([prompt[place], 1.0])
        elif character in "([":
            opened.append(len(characters))
        elif character == "]":
            factor = 1 / 1.1
        elif character == ")":
            factor = 1.1
        elif explicit := re.match(r":([\d.]+)\)", prompt[place:]):
            factor = float(explicit[1])
            place += len(explicit[0]) - 1
        else:
            characters.append([character, 1.0])
        for entry in characters[opened.pop() :] if factor else []:
            entry[1] *= factor
        place += 1
    for start in opened:
        for entry in characters[start:]:
            entry[1] *= 1.1
    return characters


def a1111_chunks(tokenizer, prompt, size, reach):
    """Ids and weights of each chunk, token by token: a full chunk gives what follows a near comma to the next."""
    comma = tokenizer(",", add_special_tokens=False).input_ids[0]
    chunks = []
    for part in prompt.split(" BREAK "):
        chunks.append([])
        for weight, group in itertools.groupby(a1111_weights(part), key=lambda entry: entry[1]):
            for token in tokenizer("".join(c for c, _ in group), add_special_tokens=False).input_ids:
                if len(chunks[-1]) == size:
                    commas = [i for i, (t, _) in enumerate(chunks[-1]) if t == comma and i >= size - reach]
                    keep = commas[-1] + 1 if commas and token != comma else size
                    chunks.append(chunks[-1][keep:])
                    del chunks[-2][keep:]
                chunks[-1].append((token, weight))
    return chunks


@torch.no_grad()
def a1111_states(pipe, prompt):
    """States [L, d] of each chunk: multiplied by the weights, then scaled back to the mean they had."""
    tokenizer, states, length = pipe.tokenizer, [], pipe.tokenizer.model_max_length
    for tokens in a1111_chunks(tokenizer, prompt, length - 2, (length - 2) * 20 // 75):
        ids = [tokenizer.bos_token_id, *(token for token, _ in tokens)]
        ids += [tokenizer.eos_token_id] * (length - len(ids))
        weights = torch.tensor([1.0, *(weight for _, weight in tokens)] + [1.0] * (length - 1 - len(tokens)))
        plain = pipe.text_encoder(torch.tensor([ids])).last_hidden_state[0]
        weighted = plain * weights[:, None]
        states.append(weighted * (plain.mean() / weighted.mean()))
    return states


def a1111_filled(pipe, states, count):
    """States [count * L, d]: chunks that are missing are those of an empty prompt."""
    return torch.cat(states + a1111_states(pipe, "") * (count - len(states)))


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

"""The pieces of work of `img2img_jax.benchmarks.works`, done by PyTorch diffusers, and checkpoints for both.

Part of scripts/benchmark.py. Needs torch, diffusers and transformers.
"""

import copy
import itertools
import shutil
from functools import cached_property
from pathlib import Path

import diffusers
import numpy as np
import torch
import transformers
from flax import nnx

from img2img_jax.benchmarks.works import GUIDANCE, PROMPT, STEPS, STRENGTH, STRENGTHS
from img2img_jax.checkpoints import EMBEDDED_MODEL
from img2img_jax.checkpoints.component import split
from img2img_jax.checkpoints.parameters import key_of, to_torch
from img2img_jax.testing.tiny import SCHEDULER_CONFIG, letter_tokenizer


def nchw(array):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, 1)))


def nhwc(tensor):
    return np.moveaxis(tensor.float().numpy(), 1, -1)


def with_weights(network, config, tensors):
    """A network of the same class on given tensors, none of them copied."""
    with torch.device("meta"):
        made = network.from_config(config)
    made.load_state_dict(tensors, assign=True)
    return made.eval()


def cast(network, dtype):
    return with_weights(network, network.config, {key: t.to(dtype) for key, t in network.state_dict().items()})


def same_unet(unet: nnx.Module):
    """diffusers' UNet on the weights of ours: two copies of SDXL's would not fit the memory of many machines.

    PyTorch multiplies by a transposed matrix as fast as by another. Convolutions get a copy in PyTorch's order.
    """
    tensors = {}
    for path, parameter in split(unet)[1]:
        values = to_torch(path, np.asarray(parameter[...]))
        tensors[key_of(path)] = torch.from_numpy(np.ascontiguousarray(values) if values.ndim == 4 else values)
    return with_weights(diffusers.UNet2DConditionModel, unet.config.to_dict(), tensors)


class TorchWorks:
    """As `Works`. Peers: "torch" (eager, float32), "torch_compile" (of UNet and VAE), "torch_bf16"."""

    def __init__(self, pipe, inputs, peer):
        self.inputs, self.dtype = inputs, torch.bfloat16 if peer == "torch_bf16" else torch.float32
        self.pipe, self.peer, self.unet = pipe, peer, pipe.unet
        if peer == "torch_bf16":
            self.unet = cast(pipe.unet, self.dtype)
        if peer == "torch_compile":
            self.unet = torch.compile(pipe.unet)

    @cached_property
    def vae(self):
        if self.peer == "torch_bf16":
            return cast(self.pipe.vae, self.dtype)
        vae = copy.copy(self.pipe.vae)
        if self.peer == "torch_compile":
            vae.encode, vae.decode = torch.compile(self.pipe.vae.encode), torch.compile(self.pipe.vae.decode)
        return vae

    @cached_property
    def img2img(self):
        parts = self.pipe.components | {"unet": self.unet, "vae": self.vae}
        if self.peer == "torch_bf16":
            parts["text_encoder"] = copy.deepcopy(parts["text_encoder"]).to(self.dtype)
        made = diffusers.StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False)
        made.set_progress_bar_config(disable=True)
        return made

    def _given(self, array):
        return nchw(array).to(self.dtype)

    def _without_grad(self, work):
        def call():
            with torch.inference_mode():
                return nhwc(work())

        return call

    def unet_step(self):
        given = self.inputs
        x, text = self._given(given.latents), torch.from_numpy(given.text).to(self.dtype)
        added = given.added and {k: torch.from_numpy(v) for k, v in given.added._asdict().items()}
        return self._without_grad(lambda: self.unet(x, given.timestep, text, added_cond_kwargs=added).sample)

    def vae_encode(self):
        images = self._given(2 * self.inputs.pictures - 1)
        return self._without_grad(lambda: self.vae.encode(images).latent_dist.mean)

    def vae_decode(self):
        latents = self._given(self.inputs.latents[: len(self.inputs.pictures)])
        return self._without_grad(lambda: self.vae.decode(latents).sample.clamp(-1, 1))

    def picture(self, strength=STRENGTH, steps=STEPS):
        given, count = self.inputs, len(self.inputs.pictures)
        pictures = nchw(given.pictures)

        def call():
            draws = iter([given.latents[:count], given.noise[:count]])
            with _Draws(lambda: self._given(next(draws))), torch.inference_mode():
                return self.img2img(
                    [PROMPT] * count,
                    image=pictures,
                    strength=strength,
                    num_inference_steps=steps,
                    guidance_scale=GUIDANCE,
                    output_type="np",
                ).images

        return call

    def sweep(self):
        calls = [self.picture(strength) for strength in STRENGTHS]
        return lambda: np.stack([call() for call in calls])

    def train_step(self):
        given, start = self.inputs, copy.deepcopy(self.unet).to(memory_format=torch.channels_last)
        x, noise = (nchw(a).to(memory_format=torch.channels_last) for a in (given.latents, given.noise))
        text, unet = torch.from_numpy(given.text), copy.deepcopy(start).train()

        def two_steps():
            unet.load_state_dict(start.state_dict())
            optimizer, losses = torch.optim.AdamW(unet.parameters(), lr=1e-4, weight_decay=1e-2), []
            for _ in range(2):
                loss = torch.nn.functional.mse_loss(unet(x, given.timestep, text).sample, noise)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            return np.asarray(losses)

        return two_steps


class _Draws:
    """Lets diffusers draw given noise: its pipelines take none for the picture's posterior."""

    def __init__(self, draw):
        self.draw, self.homes = draw, ("diffusers.models.autoencoders.vae", _img2img_module())

    def __enter__(self):
        import sys

        self.kept = [(sys.modules[name], sys.modules[name].randn_tensor) for name in self.homes]
        for module, _ in self.kept:
            module.randn_tensor = lambda *args, **options: self.draw()

    def __exit__(self, *error):
        for module, original in self.kept:
            module.randn_tensor = original


def _img2img_module():
    return diffusers.StableDiffusionImg2ImgPipeline.__module__


def load(folder):
    """diffusers' pipeline of a folder, with DDIM as our side takes it."""
    pipe = diffusers.StableDiffusionImg2ImgPipeline.from_pretrained(
        folder, use_safetensors=True, safety_checker=None, requires_safety_checker=False
    )
    pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def make_leading(folder):
    """Writes the embedded model under the one kind of DDIM that the old Flax pipelines know too; returns the folder.

    Without zero terminal SNR, its pictures are poor. Everything is float32, and networks come as .bin files as well:
    the old Flax classes read no others.
    """
    pipe, folder = load(EMBEDDED_MODEL), Path(folder)
    changes = {"rescale_betas_zero_snr": False, "timestep_spacing": "leading", "set_alpha_to_one": False}
    pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config, **changes)
    pipe.save_pretrained(folder)
    for name in ("unet", "vae"):
        getattr(pipe, name).save_pretrained(folder / name, safe_serialization=False)
    # Today's transformers writes tokenizers in another format, which those of that time cannot read.
    shutil.copytree(EMBEDDED_MODEL / "tokenizer", folder / "tokenizer", dirs_exist_ok=True)
    return folder


def make_sd15(folder):
    """Writes a checkpoint of Stable Diffusion 1.5's shapes with random weights, unless it is there: 4 GB."""
    folder = Path(folder)
    if (folder / "model_index.json").exists():
        return folder
    torch.manual_seed(0)
    tokenizer = letter_tokenizer(77)
    text = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        eos_token_id=tokenizer.eos_token_id,
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
    )
    pipe = diffusers.StableDiffusionImg2ImgPipeline(
        vae=vae,
        unet=diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768),
        text_encoder=transformers.CLIPTextModel(text),
        tokenizer=tokenizer,
        scheduler=diffusers.DDIMScheduler.from_config(SCHEDULER_CONFIG),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    # Fresh networks give next to nothing; parameters of some size show errors.
    with torch.no_grad():
        for parameter in itertools.chain(vae.parameters(), pipe.unet.parameters()):
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    pipe.save_pretrained(folder)
    return folder

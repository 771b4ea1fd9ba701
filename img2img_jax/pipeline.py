"""Image-to-image: encode, noise, denoise, decode."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jax.typing import ArrayLike

from img2img_jax import images as pictures
from img2img_jax import programs, rng
from img2img_jax.checkpoints import (
    CheckpointError,
    load_component,
    read_json,
    resolve,
    save_component,
    write_json,
    write_model_index,
)
from img2img_jax.diffusion.scheduler import Scheduler
from img2img_jax.diffusion.strength import ResolvedStart
from img2img_jax.models import AutoencoderKL, AutoencoderTiny, CLIPTextModel, UNet2DConditionModel
from img2img_jax.models.layers import sinusoidal_embedding
from img2img_jax.models.vae_tiling import check_tile_size
from img2img_jax.parallel import make_mesh, padded_size, replicated, shard_batch
from img2img_jax.prompt_syntax import Token, emphasised
from img2img_jax.prompts import check_syntax, load_tokenizer, read_chunks, stack_chunks
from img2img_jax.types import DType

EMBEDDED_MODEL = Path(__file__).with_name("assets") / "model"
OUTPUT_TYPES = ("pil", "np", "latent")
_VAES = {cls.__name__: cls for cls in (AutoencoderKL, AutoencoderTiny)}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Img2ImgOutput:
    """What a call gives.

    Attributes:
      images: a list of PIL pictures ("pil"), float32 [B,H,W,3] in 0..1 ("np"), or the latents ("latent").
      latents: float32 [B,h,w,c], scaled as the UNet sees them; None if no network ran (every strength 0).
      strength: where each sample really started.
    """

    images: Any
    latents: np.ndarray | None
    strength: list[ResolvedStart]


class Img2ImgPipeline:
    """A VAE, a UNet, a text encoder and a scheduler, jointly: pictures and prompts to pictures.

    Attributes:
      folder: where the checkpoint's files lie, or None if it was put together in memory.
      vae_scale_factor: pixels per latent, along one side.
      native_size: side in pixels of the pictures the UNet was trained on.
    """

    def __init__(
        self,
        *,
        vae: AutoencoderKL | AutoencoderTiny,
        unet: UNet2DConditionModel,
        text_encoder: CLIPTextModel,
        tokenizer: Any,
        scheduler_config: Mapping[str, Any],
        mesh: Mesh | None = None,
        folder: Path | None = None,
    ):
        _check_fit(vae, unet, text_encoder)
        self.vae, self.unet, self.text_encoder = vae, unet, text_encoder
        self.tokenizer, self.scheduler_config, self.folder = tokenizer, dict(scheduler_config), folder
        self.mesh = mesh or make_mesh(jax.devices()[:1])
        self.vae_scale_factor = vae.downscale_factor
        self.native_size = (unet.config.sample_size or 64) * self.vae_scale_factor
        # Split once, here: (static structure, weights) is what the compiled programs take.
        self._vae, self._unet, self._text = (self._placed(module) for module in (vae, unet, text_encoder))

    def _placed(self, module: nnx.Module) -> tuple[nnx.GraphDef, nnx.State]:
        graphdef, state = nnx.split(module)
        return graphdef, jax.device_put(state, replicated(self.mesh))

    @classmethod
    def from_pretrained(
        cls,
        path_or_hub_id: str | Path = EMBEDDED_MODEL,
        *,
        dtype: DType = "float32",
        mesh: Mesh | None = None,
        revision: str | None = None,
        variant: str | None = None,
    ) -> Img2ImgPipeline:
        """Loads a checkpoint in the diffusers folder layout (safetensors).

        Args:
          path_or_hub_id: a folder or a Hugging Face hub id; by default the model that ships with the package.
          dtype: of weights and computation, "float32" or "bfloat16"; norms, softmax and the solver stay float32.
          mesh: devices to split batches over (see ``img2img_jax.parallel``); the first device by default.
          revision: branch, tag or commit on the hub.
          variant: of the weights' files, such as "fp16".

        Raises:
          CheckpointError: no such checkpoint; a file is missing, broken or a pickle; a key has no place.
        """
        if jnp.dtype(dtype) not in (jnp.float32, jnp.bfloat16):
            raise ValueError(f"dtype={dtype!r} is not supported; choose 'float32' or 'bfloat16'")
        folder = resolve(path_or_hub_id, revision=revision, variant=variant)
        vae_class = read_json(folder / "vae" / "config.json").get("_class_name")
        if vae_class not in _VAES:
            raise CheckpointError(f"{folder}/vae is a {vae_class!r}; supported: {', '.join(_VAES)}")
        load = dict(dtype=dtype, variant=variant)
        return cls(
            # What is small first, so that what is missing there is said before the weights are read.
            scheduler_config=read_json(folder / "scheduler" / "scheduler_config.json"),
            tokenizer=load_tokenizer(folder / "tokenizer"),
            vae=load_component(_VAES[vae_class], folder / "vae", **load),
            unet=load_component(UNet2DConditionModel, folder / "unet", **load),
            text_encoder=load_component(CLIPTextModel, folder / "text_encoder", **load),
            mesh=mesh,
            folder=folder,
        )

    def save_pretrained(self, folder: str | Path, *, dtype: DType | None = None) -> None:
        """Writes the diffusers folder layout, for this package and for PyTorch diffusers.

        Args:
          folder: created if need be; files of the same names are replaced.
          dtype: of the weights in the files ("float16" halves them); by default that of the pipeline.
        """
        folder = Path(folder)
        parts = {"vae": self.vae, "unet": self.unet, "text_encoder": self.text_encoder}
        for name, module in parts.items():
            save_component(module, folder / name, dtype=None if dtype is None else jnp.dtype(dtype))
        self.tokenizer.save_pretrained(str(folder / "tokenizer"))
        (folder / "scheduler").mkdir(parents=True, exist_ok=True)
        write_json(folder / "scheduler" / "scheduler_config.json", self.scheduler_config)
        scheduler = self.scheduler_config["_class_name"]
        write_model_index(folder, vae=type(self.vae).__name__, scheduler=scheduler)

    def __call__(
        self,
        prompt: str | Sequence[str] | None,
        image: Any,
        *,
        strength: float | Sequence[float] = 0.8,
        num_inference_steps: int = 50,
        guidance_scale: float | Sequence[float] = 7.5,
        negative_prompt: str | Sequence[str] | None = None,
        seed: int | Sequence[int] = 0,
        scheduler: str | None = None,
        strength_mode: str = "truncate",
        noise_at_one: str = "pure",
        prompt_embeds: ArrayLike | None = None,
        negative_prompt_embeds: ArrayLike | None = None,
        prompt_syntax: str = "plain",
        clip_skip: int = 0,
        vae_tile_size: int | None = None,
        posterior_noise: ArrayLike | None = None,
        noise: ArrayLike | None = None,
        step_noise: ArrayLike | None = None,
        output_type: str = "pil",
        eta: float = 0.0,
        guidance_rescale: float = 0.0,
        height: int | None = None,
        width: int | None = None,
        resize: str = "crop",
        background: str = "white",
    ) -> Img2ImgOutput:
        """Transforms pictures under prompts.

        Prompt, image, strength, guidance scale, negative prompt and seed are one value for all samples or one per
        sample; the batch is as long as the longest. Equal seeds give equal noise, whatever the batch.

        Args:
          prompt: text, or None with ``prompt_embeds``.
          negative_prompt: what guidance leads away from; nothing in particular by default.
          image: PIL, path, list of these, or an array [B,H,W,3] (uint8, or float in 0..1).
          strength: 0 (the input, untouched) to 1 (pure noise: text-to-image).
          num_inference_steps: of the whole schedule; how many of them run is up to ``strength_mode``.
          guidance_scale: 1 or less switches guidance off.
          seed: in [0, 2**32).
          scheduler: a name from ``img2img_jax.diffusion.solvers.SCHEDULERS``, or None for the checkpoint's own.
          strength_mode: "truncate", "exact" or "continuous" (docs: ``img2img_jax.diffusion.strength``).
          noise_at_one: "pure", or "leak" for the usual but not quite pure noise at strength 1.
          prompt_embeds, negative_prompt_embeds: text states [B or 1, L, d], given instead of the texts.
          prompt_syntax: "plain" takes prompts literally, cut to the text encoder's length; "a1111" reads weights, such
            as (word:1.3), and prompts of any length (docs: ``img2img_jax.prompt_syntax``).
          clip_skip: last layers of the text encoder to leave out, counted as in diffusers; 0 leaves out none. The
            negative prompt keeps them with "plain" (diffusers' way) and loses them with "a1111".
          vae_tile_size: pixels along a side of the tiles that the VAE works in, for pictures too large to be worked on
            whole; None for no tiles (docs: ``img2img_jax.models.vae_tiling``).
          posterior_noise, noise: float32 [B,h,w,c], given instead of drawn.
          step_noise: float32 [steps,B,h,w,c], the sampler's noise, given instead of drawn; as many steps as the
            sample that draws most (``ResolvedStart.noise_draws``).
          output_type: "pil", "np" (float32 [B,H,W,3] in 0..1) or "latent".
          eta: share of DDPM's noise that DDIM adds, in [0, 1].
          guidance_rescale: of Lin et al. 2305.08891, in [0, 1].
          height, width, resize, background: see ``img2img_jax.images.prepare``.

        Raises:
          ValueError: an argument out of its range, or lists of lengths that do not match; named, with the remedy.
        """
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type={output_type!r} is not known; choose one of {', '.join(OUTPUT_TYPES)}")
        check_syntax(prompt_syntax)
        _check_clip_skip(clip_skip, self.text_encoder.config.num_hidden_layers)
        if vae_tile_size is not None:
            check_tile_size(self.vae, vae_tile_size)
        pixels = pictures.prepare_batch(
            image, height=height, width=width, resize=resize, background=background, multiple=self.vae_scale_factor
        )
        columns = {
            "image": list(pixels),
            "strength": _column(strength),
            "guidance_scale": _column(guidance_scale),
            "seed": _column(seed),
            "prompt": _text_column("prompt", prompt, prompt_embeds),
            "negative_prompt": _text_column("negative_prompt", negative_prompt, negative_prompt_embeds, default=""),
        }
        size, columns = _broadcast(columns)
        scales = _checked_guidance(columns["guidance_scale"], guidance_rescale)
        table, starts = Scheduler.from_config(self.scheduler_config, scheduler).table(
            columns["strength"], num_inference_steps, mode=strength_mode, noise_at_one=noise_at_one, eta=eta
        )
        pixels, keys = np.stack(columns["image"]), rng.sample_keys(columns["seed"])
        if output_type != "latent" and all(s.strength == 0 for s in starts):
            return Img2ImgOutput(images=_as(output_type, pixels), latents=None, strength=starts)
        posterior_noise = self._given("posterior_noise", posterior_noise, pixels)
        noise = self._given("noise", noise, pixels)
        step_noise = self._given_steps(step_noise, pixels, max(s.noise_draws for s in starts))
        text = self._text_states(columns, scales, prompt_syntax, clip_skip)
        place = _Placement(self.mesh, size)

        latents = programs.encode(
            *self._vae,
            place(pictures.to_model(pixels)),
            place(keys),
            place(posterior_noise),
            tile_size=vae_tile_size,
        )
        latents = programs.denoise(
            self._unet[0],
            self.mesh,
            self._unet[1],
            place.table(table),
            latents,
            place(text),
            place(np.maximum(scales, 1)),
            jnp.float32(guidance_rescale),
            place(self._guidance_embedding(scales)),
            place(keys),
            place(noise),
            place(step_noise, axis=1),
        )
        result = np.asarray(latents)[:size]
        if output_type == "latent":
            return Img2ImgOutput(images=result, latents=result, strength=starts)
        decoded = programs.decode(*self._vae, latents, tile_size=vae_tile_size)
        decoded = pictures.to_unit(np.asarray(decoded)[:size])
        # Strength 0 is the input itself, not what the VAE makes of it.
        untouched = np.asarray([s.strength == 0 for s in starts])[:, None, None, None]
        unit = np.where(untouched, pictures.as_unit(pixels), decoded)
        return Img2ImgOutput(images=_as(output_type, unit), latents=result, strength=starts)

    def _latent_shape(self, pixels: np.ndarray) -> tuple[int, ...]:
        b, h, w, _ = pixels.shape
        f = self.vae_scale_factor
        return b, h // f, w // f, self.vae.config.latent_channels

    def _given(self, name: str, values: ArrayLike | None, pixels: np.ndarray) -> np.ndarray | None:
        if values is None:
            return None
        values, wanted = np.asarray(values, np.float32), self._latent_shape(pixels)
        if values.shape != wanted:
            raise ValueError(f"{name} has shape {values.shape}; this batch needs {wanted} ([B, h, w, c])")
        return values

    def _given_steps(self, values: ArrayLike | None, pixels: np.ndarray, draws: int) -> np.ndarray | None:
        if values is None:
            return None
        values, wanted = np.asarray(values, np.float32), self._latent_shape(pixels)
        if values.shape[1:] != wanted or len(values) < draws:
            raise ValueError(
                f"step_noise has shape {values.shape}; this batch needs {('steps', *wanted)} with steps >= {draws}"
            )
        return values if draws else None

    def _text_states(
        self, columns: dict[str, list], scales: np.ndarray, prompt_syntax: str, clip_skip: int
    ) -> np.ndarray:
        """[B, 1, L, d] of the prompts; [B, 2, L, d] of the negative prompts and the prompts if any sample is guided."""
        guided = self.unet.config.time_cond_proj_dim is None and (scales > 1).any()
        names = ["negative_prompt", "prompt"] if guided else ["prompt"]
        length = self.text_encoder.config.max_position_embeddings
        entries = [entry for name in names for entry in columns[name]]
        texts = dict.fromkeys(entry for entry in entries if isinstance(entry, str))
        chunks = {text: read_chunks(self.tokenizer, text, length, prompt_syntax) for text in texts}
        # One count for all, given states included, so that a batch is one array.
        count = max([*map(len, chunks.values()), *(len(e) // length for e in entries if not isinstance(e, str)), 1])
        # In diffusers clip_skip leaves the negative prompt alone, in the web UI it does not: the syntax says whose way.
        skips = {"prompt": clip_skip, "negative_prompt": 0 if prompt_syntax == "plain" else clip_skip}
        states = [self._states(columns[name], chunks, count, skips[name]) for name in names]
        if states[0].shape != states[-1].shape:
            raise ValueError(
                f"the negative prompts' states have shape {states[0].shape}, the prompts' {states[-1].shape}; "
                "give both prompt_embeds and negative_prompt_embeds, of one shape [B, L, d]"
            )
        return np.stack(states, axis=1)

    def _states(
        self,
        column: list[str] | list[np.ndarray],
        chunks: dict[str, list[list[Token]]],
        count: int,
        clip_skip: int,
    ) -> np.ndarray:
        """[B, L, d] of texts, each distinct one read once, or of the states given in their place."""
        if not isinstance(column[0], str):
            return np.stack(column)
        distinct = list(dict.fromkeys(column))
        # Padded to the batch's size, so that the number of distinct prompts is data as well.
        padded = distinct + distinct[:1] * (len(column) - len(distinct))
        ids, weights = stack_chunks(self.tokenizer, [chunks[text] for text in padded], count)
        states = programs.read_prompts(*self._text, ids.reshape(-1, ids.shape[-1]), clip_skip=clip_skip)
        states = emphasised(np.asarray(states, np.float32).reshape(*ids.shape, -1), weights)
        states = states.reshape(len(padded), -1, states.shape[-1])
        return states[[distinct.index(text) for text in column]]

    def _guidance_embedding(self, scales: np.ndarray) -> np.ndarray | None:
        """LCM's guidance embedding (Luo et al. 2310.04378): that of (scale - 1) * 1000, sines first."""
        dim = self.unet.config.time_cond_proj_dim
        if dim is None:
            return None
        w = jnp.asarray((scales - 1) * 1000, jnp.float32)
        return np.asarray(sinusoidal_embedding(w, dim, flip_sin_to_cos=False, downscale_freq_shift=1))


class _Placement:
    """Puts a batch on the mesh, its last sample repeated to a multiple of the devices."""

    def __init__(self, mesh: Mesh, size: int):
        self.mesh, self.padding = mesh, padded_size(size, mesh) - size

    def __call__(self, values: Any, axis: int = 0) -> jax.Array | None:
        if values is None:
            return None
        if self.padding:
            size = values.shape[axis]
            values = jnp.take(values, np.minimum(np.arange(size + self.padding), size - 1), axis=axis)
        return shard_batch(values, self.mesh, axis)

    def table(self, table: Any) -> Any:
        return jax.tree.map(
            lambda leaf: self(leaf) if leaf.ndim else jax.device_put(leaf, replicated(self.mesh)), table
        )


def _as(output_type: str, pixels: np.ndarray) -> Any:
    return pictures.to_pil(pixels) if output_type == "pil" else pictures.as_unit(pixels)


def _column(values: Any) -> list:
    """A list of one entry per sample; one value stays a list of one."""
    return [values] if isinstance(values, str) or np.ndim(values) == 0 else list(values)


def _text_column(name: str, texts: Any, states: ArrayLike | None, default: str | None = None) -> list:
    """One text per sample, or the states [L, d] given in its place."""
    if states is None:
        column = _column(default if texts is None else texts)
        for index, text in enumerate(column):
            if not isinstance(text, str):
                raise ValueError(f"{name}[{index}]={text!r} is not a text; give a str, or {name}_embeds")
        return column
    if texts is not None:
        raise ValueError(f"{name} and {name}_embeds are both given; give one of them")
    states = np.asarray(states, np.float32)
    if states.ndim != 3:
        raise ValueError(f"{name}_embeds has shape {states.shape}; give [B or 1, L, d]")
    return list(states)


def _broadcast(columns: dict[str, list]) -> tuple[int, dict[str, list]]:
    size = max(len(column) for column in columns.values())
    odd = {name: len(column) for name, column in columns.items() if len(column) not in (1, size)}
    if odd:
        found = ", ".join(f"{name} has {length}" for name, length in odd.items())
        raise ValueError(f"the batch has {size} samples, but {found}; give one for all or one per sample")
    return size, {name: column * (size // len(column)) for name, column in columns.items()}


def _checked_guidance(scales: list[float], rescale: float) -> np.ndarray:
    """[B] float32 guidance scales."""
    if not 0 <= rescale <= 1:
        raise ValueError(f"guidance_rescale={rescale} is not in the range [0, 1]")
    values = np.asarray(scales, np.float32)
    for index in np.flatnonzero(~np.isfinite(values)):
        raise ValueError(f"guidance_scale[{index}]={scales[index]} is not a finite number")
    return values


def _check_clip_skip(clip_skip: int, layers: int) -> None:
    if isinstance(clip_skip, bool) or not isinstance(clip_skip, int | np.integer) or not 0 <= clip_skip <= layers:
        raise ValueError(
            f"clip_skip={clip_skip!r} is not a whole number from 0 to {layers}, the layers of the text encoder; "
            "0 leaves out none"
        )


def _check_fit(vae: nnx.Module, unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> None:
    wanted = {
        "in_channels": ("the VAE's latent_channels", vae.config.latent_channels),
        "out_channels": ("the VAE's latent_channels", vae.config.latent_channels),
        "cross_attention_dim": ("the text encoder's hidden_size", text_encoder.config.hidden_size),
    }
    for name, (source, value) in wanted.items():
        if getattr(unet.config, name) != value:
            raise ValueError(
                f"the UNet has {name}={getattr(unet.config, name)}, but {source} is {value}; image-to-image needs them "
                "equal (inpainting and depth-guided UNets do not fit)"
            )

"""Image-to-image: encode, noise, denoise, decode."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jax.typing import ArrayLike

from img2img_jax import compilation_cache, programs, rng
from img2img_jax import images as pictures
from img2img_jax.arguments import finite, number
from img2img_jax.checkpoints import (
    EMBEDDED_MODEL,
    CheckpointError,
    Lora,
    TextualInversion,
    TokenizerSource,
    fill,
    open_checkpoint,
    open_vae,
    read_json,
    read_model_index,
    restore_orbax,
    save_component,
    save_orbax,
    tokenizer_name,
    with_loras,
    with_textual_inversions,
    write_json,
    write_model_index,
)
from img2img_jax.conditioning import Condition, Conditioner, TextEncoder, column
from img2img_jax.diffusion.handover import Handover
from img2img_jax.diffusion.scheduler import Scheduler
from img2img_jax.diffusion.strength import ResolvedStart
from img2img_jax.models import (
    AutoencoderKL,
    AutoencoderTiny,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    UNet2DConditionModel,
)
from img2img_jax.models.layers import guidance_embedding
from img2img_jax.models.vae_tiling import check_tile_size
from img2img_jax.parallel import Placement, make_mesh
from img2img_jax.partition import PARTITION, Partition, whole
from img2img_jax.prompts import check_syntax, load_tokenizer
from img2img_jax.types import DType

OUTPUT_TYPES = ("pil", "np", "latent")
DTYPES = ("float32", "bfloat16")
STRENGTH = 0.8
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


_TEXT_ENCODERS = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}


class Img2ImgPipeline:
    """A VAE, a UNet, text encoders and a scheduler, jointly: pictures and prompts to pictures.

    One class for every family: Stable Diffusion 1.x and 2.x have ``text_encoder`` alone, SDXL has ``text_encoder_2`` as
    well, its refiner ``text_encoder_2`` alone.

    Attributes:
      folder: where the checkpoint's files lie (or its single file), or None if it was put together in memory.
      vae_scale_factor: pixels per latent, along one side.
      native_size: side in pixels of the pictures the UNet was trained on.
    """

    def __init__(
        self,
        *,
        vae: AutoencoderKL | AutoencoderTiny,
        unet: UNet2DConditionModel,
        text_encoder: CLIPTextModel | None,
        tokenizer: Any,
        scheduler_config: Mapping[str, Any],
        text_encoder_2: CLIPTextModelWithProjection | None = None,
        tokenizer_2: Any = None,
        requires_aesthetics_score: bool = False,
        force_zeros_for_empty_prompt: bool = True,
        mesh: Mesh | None = None,
        partition: Partition = PARTITION,
        folder: Path | None = None,
    ):
        _check_fit(vae, unet, text_encoder, text_encoder_2)
        self.vae, self.unet, self.text_encoder, self.text_encoder_2 = vae, unet, text_encoder, text_encoder_2
        self.tokenizer, self.tokenizer_2 = tokenizer, tokenizer_2
        self.scheduler_config, self.folder = dict(scheduler_config), folder
        self.mesh = mesh or make_mesh(devices=jax.local_devices()[:1])
        if self.mesh.is_multi_process:
            raise ValueError(
                "mesh has devices of several processes, and a pipeline takes and gives whole batches; use "
                "make_mesh(devices=jax.local_devices()) in each process, and deal samples over them (docs/scaling.md)"
            )
        self.partition = partition
        self.vae_scale_factor = vae.downscale_factor
        self.native_size = (unet.config.sample_size or 64) * self.vae_scale_factor
        # Split once, here: (static structure, weights) is what the compiled programs take.
        self._vae, self._unet = self._placed(vae), self._placed(unet)
        self._conditioner = Conditioner(
            encoders=[
                self._encoder(network, tokenizer)
                for network, tokenizer in ((text_encoder, tokenizer), (text_encoder_2, tokenizer_2))
                if network is not None
            ],
            unet=unet.config,
            requires_aesthetics_score=requires_aesthetics_score,
            force_zeros_for_empty_prompt=force_zeros_for_empty_prompt,
        )

    def _encoder(self, network: nnx.Module, tokenizer: Any) -> TextEncoder:
        graphdef, state = self._placed(network)
        penultimate = self.unet.config.takes_sizes
        return TextEncoder(
            graphdef=graphdef, state=state, tokenizer=tokenizer, config=network.config, penultimate=penultimate
        )

    def _placed(self, module: nnx.Module) -> tuple[nnx.GraphDef, nnx.State]:
        graphdef, state = nnx.split(module)
        return graphdef, jax.device_put(state, self.partition.shardings(state, self.mesh))

    @classmethod
    def from_pretrained(
        cls,
        path_or_hub_id: str | Path = EMBEDDED_MODEL,
        *,
        dtype: DType = "float32",
        mesh: Mesh | None = None,
        partition: Partition = PARTITION,
        revision: str | None = None,
        variant: str | None = None,
        family: str | None = None,
        config: str | Path | None = None,
        tokenizer: str | Path | None = None,
        prediction_type: str | None = None,
        loras: Sequence[Lora] = (),
        textual_inversions: Sequence[TextualInversion] = (),
        vae: str | Path | None = None,
    ) -> Img2ImgPipeline:
        """Loads a checkpoint: a folder in the diffusers layout, or one file in the original one (safetensors).

        Args:
          path_or_hub_id: a folder, a ``.safetensors`` file, a Hugging Face hub id, or "emoji" or "emoji-lcm", the
            models that ship with the package; by default the first of these two.
          dtype: of weights and computation, "float32" or "bfloat16"; norms, softmax and the solver stay float32.
          mesh: devices to split batches and weights over, from ``make_mesh``; the first device by default.
          partition: how the weights lie on the mesh, where its ``fsdp`` or ``tensor`` axis is longer than 1.
          revision: branch, tag or commit on the hub.
          variant: of the weights' files, such as "fp16".
          family: of a single file: "sd1", "sd2", "sdxl" or "sdxl-refiner"; by default recognised by its keys.
          config: for a single file: a folder in the diffusers layout whose configurations are taken.
          tokenizer: folder or hub id of a CLIP tokenizer, in place of the checkpoint's; a single file has none, and
            takes OpenAI's from the hub by default.
          prediction_type: "epsilon", "v_prediction" or "sample", in place of the checkpoint's.
          loras: files, or pairs of a file and its weight, merged into the weights as these are read: LoRA and LoCon
            in the layouts of kohya, PEFT and diffusers.
          textual_inversions: files, or pairs of a file and the token that stands for it in prompts.
          vae: a folder, file or hub id of a VAE (AutoencoderKL or AutoencoderTiny), in place of the checkpoint's.

        Raises:
          CheckpointError: no such checkpoint; a file is missing, broken or a pickle; a key has no place.
          ValueError: another ``dtype``.
        """
        compilation_cache.enable()
        _checked_dtype(dtype)
        checkpoint = open_checkpoint(
            path_or_hub_id,
            revision=revision,
            variant=variant,
            family=family,
            config=config,
            tokenizer=tokenizer,
            prediction_type=prediction_type,
        )
        mesh = mesh or make_mesh(devices=jax.local_devices()[:1])
        tokenizers = {name: load_tokenizer(source) for name, source in checkpoint.tokenizers.items()}
        parts = with_loras(checkpoint.components, loras)
        parts = with_textual_inversions(parts, tokenizers, textual_inversions)
        if vae is not None:
            parts["vae"] = open_vae(vae, parts["vae"].config, variant)
        load = dict(dtype=dtype, sharding=partition.sharding(mesh))
        texts = {name: fill(_TEXT_ENCODERS[name], parts[name], **load) for name in tokenizers}
        return cls(
            **_text_parts(texts, tokenizers),
            **checkpoint.flags,
            scheduler_config=checkpoint.scheduler_config,
            vae=fill(_vae_class(parts["vae"].config, parts["vae"].origin), parts["vae"], **load),
            unet=fill(UNet2DConditionModel, parts["unet"], **load),
            mesh=mesh,
            partition=partition,
            folder=checkpoint.origin,
        )

    def save_pretrained(self, folder: str | Path, *, dtype: DType | None = None) -> None:
        """Writes the diffusers folder layout, for this package and for PyTorch diffusers.

        Args:
          folder: created if need be; a pipeline in it is replaced, however it was saved.
          dtype: of the weights in the files ("float16" halves them); by default that of the pipeline.

        Raises:
          ValueError: a ``dtype`` that is none of those.
        """
        kind = None if dtype is None else _checked_dtype(dtype, (*DTYPES, "float16"))
        self._write(Path(folder), partial(save_component, dtype=kind))

    def save(self, folder: str | Path) -> None:
        """Writes the pipeline for ``restore``: as ``save_pretrained``, but the weights by Orbax, as they are held.

        Args:
          folder: created if need be; a pipeline in it is replaced, however it was saved.
        """
        self._write(Path(folder), save_orbax)

    def _write(self, folder: Path, write_component: Callable[[nnx.Module, Path], None]) -> None:
        texts = {name: getattr(self, name) for name in _TEXT_ENCODERS if getattr(self, name) is not None}
        for name, module in {"vae": self.vae, "unet": self.unet, **texts}.items():
            write_component(module, folder / name)
        for name, tokenizer in (("tokenizer", self.tokenizer), ("tokenizer_2", self.tokenizer_2)):
            if tokenizer is not None:
                tokenizer.save_pretrained(str(folder / name))
        (folder / "scheduler").mkdir(parents=True, exist_ok=True)
        write_json(folder / "scheduler" / "scheduler_config.json", self.scheduler_config)
        write_model_index(
            folder,
            vae=type(self.vae).__name__,
            scheduler=self.scheduler_config["_class_name"],
            text_encoders=tuple(texts),
            requires_aesthetics_score=self._conditioner.requires_aesthetics_score,
            force_zeros_for_empty_prompt=self._conditioner.force_zeros_for_empty_prompt,
        )

    @classmethod
    def restore(
        cls,
        folder: str | Path,
        *,
        dtype: DType = "float32",
        mesh: Mesh | None = None,
        partition: Partition = PARTITION,
    ) -> Img2ImgPipeline:
        """Reads what ``save`` wrote, each device of ``mesh`` straight from the files.

        Args:
          folder: that was saved to, on whatever mesh.
          dtype, mesh, partition: as in ``from_pretrained``.

        Raises:
          CheckpointError: the folder is incomplete or broken.
          ValueError: another ``dtype``.
        """
        compilation_cache.enable()
        _checked_dtype(dtype)
        folder, mesh = Path(folder), mesh or make_mesh(devices=jax.local_devices()[:1])
        read = partial(restore_orbax, dtype=dtype, sharding=partition.sharding(mesh))
        vae_class = _vae_class(read_json(folder / "vae" / "config.json"), folder / "vae")
        index = read_model_index(folder)
        names = [name for name in _TEXT_ENCODERS if index.has(name)]
        sources = {name: TokenizerSource(origin=folder / tokenizer_name(name)) for name in names}
        return cls(
            **_text_parts(
                {name: read(_TEXT_ENCODERS[name], folder / name) for name in names},
                {name: load_tokenizer(source) for name, source in sources.items()},
            ),
            **index.flags,
            scheduler_config=read_json(folder / "scheduler" / "scheduler_config.json"),
            vae=read(vae_class, folder / "vae"),
            unet=read(UNet2DConditionModel, folder / "unet"),
            mesh=mesh,
            partition=partition,
            folder=folder,
        )

    def __call__(
        self,
        prompt: str | Sequence[str] | None,
        image: Any,
        *,
        strength: float | Sequence[float] | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float | Sequence[float] = 7.5,
        negative_prompt: str | Sequence[str] | None = None,
        seed: int | Sequence[int] = 0,
        scheduler: str | None = None,
        strength_mode: str = "truncate",
        noise_at_one: str = "pure",
        prompt_embeds: ArrayLike | None = None,
        negative_prompt_embeds: ArrayLike | None = None,
        prompt_2: str | Sequence[str] | None = None,
        negative_prompt_2: str | Sequence[str] | None = None,
        pooled_prompt_embeds: ArrayLike | None = None,
        negative_pooled_prompt_embeds: ArrayLike | None = None,
        original_size: ArrayLike | None = None,
        crops_coords_top_left: ArrayLike | None = None,
        target_size: ArrayLike | None = None,
        negative_original_size: ArrayLike | None = None,
        negative_crops_coords_top_left: ArrayLike | None = None,
        negative_target_size: ArrayLike | None = None,
        aesthetic_score: float | Sequence[float] | None = None,
        negative_aesthetic_score: float | Sequence[float] | None = None,
        denoising_start: float | None = None,
        denoising_end: float | None = None,
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
          image: PIL, path, list of these, or an array [B,H,W,3] (uint8, or float in 0..1); or latents [B,h,w,c] (float)
            as ``Img2ImgOutput`` holds them, which are not encoded. Those that all lie in 0..1 are refused, as they are
            more likely a picture in RGBA.
          strength: 0 (the input, untouched) to 1 (pure noise: text-to-image); 0.8 by default.
          num_inference_steps: of the whole schedule; how many of them run is up to ``strength_mode``.
          guidance_scale: 1 or less switches guidance off.
          seed: in [0, 2**32).
          scheduler: a name from ``img2img_jax.diffusion.solvers.SCHEDULERS``, or None for the checkpoint's own.
          strength_mode: "truncate", "exact" or "continuous" (docs: ``img2img_jax.diffusion.strength``).
          noise_at_one: "pure", or "leak" for the usual but not quite pure noise at strength 1.
          prompt_embeds, negative_prompt_embeds: text states [B or 1, L, d], given instead of the texts.
          prompt_2, negative_prompt_2: texts for SDXL's second text encoder; those of the first by default.
          pooled_prompt_embeds, negative_pooled_prompt_embeds: SDXL's pooled states [B or 1, p], beside the above.
          original_size, crops_coords_top_left, target_size, aesthetic_score, and their negative counterparts: what SDXL
            is told of the picture, for all or per sample (defaults: ``img2img_jax.micro_conditioning.time_ids``).
          denoising_start, denoising_end: fractions of the schedule, to split it between two models (docs:
            ``img2img_jax.diffusion.handover``). After a start, ``image`` is the latents of the other model.
          prompt_syntax: "plain" takes prompts literally, cut to the text encoder's length; "a1111" reads weights, such
            as (word:1.3), and prompts of any length (docs: ``img2img_jax.prompt_syntax``).
          clip_skip: last layers of the text encoder to leave out, counted as in diffusers; 0 leaves out none. The
            negative prompt keeps them with "plain" (diffusers' way) and loses them with "a1111".
          vae_tile_size: pixels along a side of the tiles that the VAE works in, for pictures too large to be worked on
            whole; None for no tiles (docs: ``img2img_jax.models.vae_tiling``).
          posterior_noise, noise: float32 [B,h,w,c], given instead of drawn. The former is of an AutoencoderKL that
            encodes pictures; nothing else draws it.
          step_noise: float32 [steps,B,h,w,c], the sampler's noise, given instead of drawn; as many steps as the
            sample that draws most (``ResolvedStart.noise_draws``).
          output_type: "pil", "np" (float32 [B,H,W,3] in 0..1) or "latent".
          eta: share of DDPM's noise that DDIM adds, in [0, 1].
          guidance_rescale: of Lin et al. 2305.08891, in [0, 1].
          height, width, resize, background: see ``img2img_jax.images.prepare``; not of latents.

        Raises:
          ValueError: an argument out of its range, or lists of lengths that do not match; named, with the remedy.
        """
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type={output_type!r} is not known; choose one of {', '.join(OUTPUT_TYPES)}")
        check_syntax(prompt_syntax)
        self._conditioner.check_clip_skip(clip_skip)
        check_tile_size(self.vae, vae_tile_size)
        handover = Handover(denoising_start=denoising_start, denoising_end=denoising_end)
        from_latents = self._is_latents(image)
        sizing = dict(height=height, width=width, resize=resize, background=background)
        if from_latents:
            source = _checked_latents(image, sizing)
        else:
            source = pictures.prepare_batch(image, multiple=self.vae_scale_factor, **sizing)
        if posterior_noise is not None and (from_latents or isinstance(self.vae, AutoencoderTiny)):
            reason = "latents are not encoded" if from_latents else "an AutoencoderTiny draws none"
            raise ValueError(f"posterior_noise is given, but {reason}; leave it out")
        told = dict(
            prompt=prompt,
            prompt_2=prompt_2,
            prompt_embeds=prompt_embeds,
            pooled_prompt_embeds=pooled_prompt_embeds,
            negative_prompt=negative_prompt,
            negative_prompt_2=negative_prompt_2,
            negative_prompt_embeds=negative_prompt_embeds,
            negative_pooled_prompt_embeds=negative_pooled_prompt_embeds,
            original_size=original_size,
            crops_coords_top_left=crops_coords_top_left,
            target_size=target_size,
            aesthetic_score=aesthetic_score,
            negative_original_size=negative_original_size,
            negative_crops_coords_top_left=negative_crops_coords_top_left,
            negative_target_size=negative_target_size,
            negative_aesthetic_score=negative_aesthetic_score,
        )
        columns = {
            "image": list(source),
            "strength": column(_checked_strength(strength, denoising_start)),
            "guidance_scale": column(guidance_scale),
            "seed": column(seed),
        }
        size, columns = broadcast(columns | self._conditioner.columns(told))
        scales = checked_guidance(columns["guidance_scale"], guidance_rescale)
        table, starts = self.sampler(scheduler).table(
            columns["strength"],
            num_inference_steps,
            mode=strength_mode,
            noise_at_one=noise_at_one,
            eta=eta,
            handover=handover,
        )
        source, keys = np.stack(columns["image"]), rng.sample_keys(columns["seed"])
        if output_type != "latent" and not from_latents and all(s.strength == 0 for s in starts):
            return Img2ImgOutput(images=_as(output_type, source), latents=None, strength=starts)
        shape = source.shape if from_latents else (size, *self.latent_shape(source.shape[1:3]))
        posterior_noise = _given("posterior_noise", posterior_noise, shape)
        noise = _given("noise", noise, shape)
        step_noise = _given_steps(step_noise, shape, max(s.noise_draws for s in starts))
        picture_size = (shape[1] * self.vae_scale_factor, shape[2] * self.vae_scale_factor)
        guided = self.guides(scales)
        condition = self._conditioner(
            columns, picture_size, guided=guided, prompt_syntax=prompt_syntax, clip_skip=clip_skip
        )
        place = Placement(self.mesh, size)

        if from_latents:
            latents = place(source)
        else:
            latents = self._encode(source, keys, posterior_noise, vae_tile_size, place)
        latents = programs.denoise(
            self._unet[0],
            self.mesh,
            self._unet[1],
            place.table(table),
            latents,
            place(condition.text),
            place(np.maximum(scales, 1)),
            jnp.float32(guidance_rescale),
            place(self.guidance_embedding(scales)),
            jax.tree.map(place, condition.added),
            place(keys),
            place(noise),
            place(step_noise, axis=1),
            self.partition,
        )
        result = np.asarray(latents)[:size]
        if output_type == "latent":
            return Img2ImgOutput(images=result, latents=result, strength=starts)
        decoded = self._decode(latents, vae_tile_size)[:size]
        if not from_latents:
            # Strength 0 is the input itself, not what the VAE makes of it.
            untouched = np.asarray([s.strength == 0 for s in starts])[:, None, None, None]
            decoded = np.where(untouched, pictures.as_unit(source), decoded)
        return Img2ImgOutput(images=_as(output_type, decoded), latents=result, strength=starts)

    def encode(
        self, image: Any, *, seed: int | Sequence[int] = 0, vae_tile_size: int | None = None, **sizing: Any
    ) -> np.ndarray:
        """Scaled latents of pictures, float32 [B,h,w,c], as a call with these seeds draws and takes them.

        Args:
          image: pictures in any form that a call takes.
          seed, vae_tile_size, and ``sizing`` (height, width, resize, background): as in a call.

        Raises:
          ValueError: an argument out of its range, or as many seeds as there are not pictures.
        """
        check_tile_size(self.vae, vae_tile_size)
        source = pictures.prepare_batch(image, multiple=self.vae_scale_factor, **sizing)
        size, columns = broadcast({"image": list(source), "seed": column(seed)})
        source, keys = np.stack(columns["image"]), rng.sample_keys(columns["seed"])
        return np.asarray(self._encode(source, keys, None, vae_tile_size, Placement(self.mesh, size)))[:size]

    def posterior(self, image: Any, *, vae_tile_size: int | None = None, **sizing: Any) -> programs.Posterior:
        """What ``encode`` makes of pictures before it draws, float32 [B,h,w,c] each: to draw from with many seeds.

        Args:
          image, vae_tile_size, sizing: as for ``encode``.
        """
        check_tile_size(self.vae, vae_tile_size)
        source = pictures.prepare_batch(image, multiple=self.vae_scale_factor, **sizing)
        images, (graphdef, state) = Placement(self.mesh, len(source))(pictures.to_model(source)), self._vae
        found = programs.posterior(graphdef, whole(state), images, mesh=self.mesh, tile_size=vae_tile_size)
        return jax.tree.map(lambda rows: np.asarray(rows)[: len(source)], found)

    def draw(self, posterior: programs.Posterior, seed: Sequence[int]) -> np.ndarray:
        """Scaled latents, float32 [B,h,w,c], of pictures that ``posterior`` has seen; one seed per picture."""
        place, (graphdef, state) = Placement(self.mesh, len(seed)), self._vae
        latents = programs.draw(
            graphdef, whole(state), jax.tree.map(place, posterior), place(rng.sample_keys(list(seed)))
        )
        return np.asarray(latents)[: len(seed)]

    def decode(self, latents: ArrayLike, *, vae_tile_size: int | None = None) -> np.ndarray:
        """Pictures of scaled latents [B,h,w,c], float32 [B,H,W,3] in 0..1; after ``encode``, the VAE's round trip."""
        check_tile_size(self.vae, vae_tile_size)
        latents = finite("latents", latents)
        return self._decode(Placement(self.mesh, len(latents))(latents), vae_tile_size)[: len(latents)]

    def encode_prompt(
        self,
        prompt: str | Sequence[str],
        negative_prompt: str | Sequence[str] | None = None,
        *,
        prompt_syntax: str = "plain",
        clip_skip: int = 0,
    ) -> dict[str, np.ndarray]:
        """What a call takes in place of these texts, by argument: states [B,L,d] and, with SDXL, pooled ones [B,p].

        Raises:
          ValueError: as a call with these arguments.
        """
        check_syntax(prompt_syntax)
        self._conditioner.check_clip_skip(clip_skip)
        native = (self.native_size, self.native_size)  # sizes are no part of what is handed back
        given = {"prompt": prompt, "negative_prompt": negative_prompt}
        told = self._told(given, native, prompt_syntax=prompt_syntax, clip_skip=clip_skip)
        states = {"prompt_embeds": told.text[:, 1], "negative_prompt_embeds": told.text[:, 0]}
        if told.added is None:
            return states
        pooled = told.added.text_embeds
        return states | {"pooled_prompt_embeds": pooled[:, 1], "negative_pooled_prompt_embeds": pooled[:, 0]}

    @property
    def conditioner(self) -> Conditioner:
        """What turns texts and sizes into arrays for the UNet."""
        return self._conditioner

    @property
    def split_vae(self) -> tuple[nnx.GraphDef, nnx.State]:
        """The VAE as the compiled programs take it: structure, and weights on the mesh."""
        return self._vae

    @property
    def split_unet(self) -> tuple[nnx.GraphDef, nnx.State]:
        """The UNet likewise."""
        return self._unet

    def sampler(self, scheduler: str | None = None) -> Scheduler:
        """The sampler of that name, or the checkpoint's own, as a call configures it."""
        return Scheduler.from_config(self.scheduler_config, scheduler, verbatim=self.unet.config.takes_sizes)

    def with_unet(self, unet: UNet2DConditionModel) -> Img2ImgPipeline:
        """The same pipeline around another UNet of the same configuration, such as a fine-tuned one.

        Raises:
          ValueError: the configurations differ.
        """
        if unet.config != self.unet.config:
            raise ValueError("the UNet has another configuration than the pipeline's; build a new Img2ImgPipeline")
        other = copy.copy(self)
        other.unet, other._unet, other.folder = unet, self._placed(unet), None
        return other

    def conditions(self, prompts: Sequence[str], size: tuple[int, int]) -> Condition:
        """What the UNet is told under each of B prompts, and last of all under none: arrays [B + 1, ...].

        Args:
          size: (height, width) of the pictures in pixels.
        """
        told = self._told({"prompt": list(prompts)}, size)
        return jax.tree.map(lambda rows: np.concatenate([rows[:, 1], rows[:1, 0]]), told)

    def _told(self, given: Mapping[str, Any], size: tuple[int, int], **reading: Any) -> Condition:
        """[B, 2, ...]: under the negative prompts and under the prompts."""
        _, columns = broadcast(self._conditioner.columns(given))
        return self._conditioner(columns, size, guided=True, **reading)

    def _encode(
        self, source: np.ndarray, keys: jax.Array, noise: np.ndarray | None, tile_size: int | None, place: Placement
    ) -> jax.Array:
        images = pictures.to_model(source)
        graphdef, state = self._vae
        placed = place(images), place(keys), place(noise)
        return programs.encode(graphdef, whole(state), *placed, mesh=self.mesh, tile_size=tile_size)

    def _decode(self, latents: jax.Array, tile_size: int | None) -> np.ndarray:
        graphdef, state = self._vae
        decoded = programs.decode(graphdef, whole(state), latents, mesh=self.mesh, tile_size=tile_size)
        return pictures.to_unit(np.asarray(decoded))

    def guides(self, scales: np.ndarray) -> bool:
        """Whether guidance scales [B] ask for negative prompts; a UNet that is told the scale needs none."""
        return self.unet.config.time_cond_proj_dim is None and bool((scales > 1).any())

    def _is_latents(self, image: Any) -> bool:
        """Whether ``image`` is a batch of latents: told from pictures by the number of channels."""
        channels = self.vae.config.latent_channels
        is_array = isinstance(image, np.ndarray | jax.Array)
        return is_array and image.ndim == 4 and image.shape[-1] == channels != 3 and image.dtype != np.uint8

    def latent_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """(h, w, c) of a picture of ``size`` (height, width) in pixels."""
        height, width = (side // self.vae_scale_factor for side in size)
        return height, width, self.vae.config.latent_channels

    def guidance_embedding(self, scales: np.ndarray) -> np.ndarray | None:
        """LCM's embedding [B,e] of guidance scales [B], where the UNet takes one."""
        dim = self.unet.config.time_cond_proj_dim
        return None if dim is None else np.asarray(guidance_embedding(scales, dim))


def _text_parts(texts: Mapping[str, nnx.Module], tokenizers: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the pipeline: text encoders, and tokenizers (given by the names of the encoders)."""
    named = {tokenizer_name(name): tokenizer for name, tokenizer in tokenizers.items()}
    return {"text_encoder": None, "tokenizer": None, **texts, **named}


def _vae_class(config: Mapping[str, Any], origin: Path) -> type[AutoencoderKL | AutoencoderTiny]:
    name = str(config.get("_class_name"))
    if name not in _VAES:
        raise CheckpointError(f"{origin}: the VAE is a {name!r}; supported: {', '.join(_VAES)}")
    return _VAES[name]


def _checked_dtype(dtype: Any, choices: Sequence[str] = DTYPES) -> np.dtype:
    try:
        kind = jnp.dtype(dtype)
    except TypeError:
        kind = None
    if kind is None or kind.name not in choices:
        raise ValueError(f"dtype={dtype!r} is not supported; choose one of {', '.join(map(repr, choices))}")
    return kind


def _as(output_type: str, pixels: np.ndarray) -> Any:
    return pictures.to_pil(pixels) if output_type == "pil" else pictures.as_unit(pixels)


def _checked_latents(image: ArrayLike, sizing: Mapping[str, Any]) -> np.ndarray:
    """[B, h, w, c] float32 latents given as the image, beside arguments that say how pictures are brought to size."""
    for name, value in sizing.items():
        if value != Img2ImgPipeline.__call__.__kwdefaults__[name]:
            raise ValueError(f"{name}={value} is given, but latents are not resized; leave it out, or give a picture")
    latents = finite("image", image)
    if latents.any() and latents.min() >= 0 and latents.max() <= 1:
        raise ValueError(
            f"image has shape {latents.shape} and no value outside 0..1; if it is an RGBA picture, give it as PIL, or "
            "its three colour channels; if it is latents, check their scale, as they hardly ever all lie in 0..1"
        )
    return latents


def _checked_strength(strength: Any, denoising_start: float | None) -> Any:
    """The strength asked for, or what a ``denoising_start`` leaves."""
    if denoising_start is None:
        return STRENGTH if strength is None else strength
    if strength is not None:
        raise ValueError(
            f"strength={strength!r} says nothing beside denoising_start={denoising_start}, which alone decides where "
            "to start; leave one of them out"
        )
    return 1 - denoising_start


def _given(name: str, values: ArrayLike | None, shape: tuple[int, ...]) -> np.ndarray | None:
    if values is None:
        return None
    values = finite(name, values)
    if values.shape != shape:
        raise ValueError(f"{name} has shape {values.shape}; this batch needs {shape} ([B, h, w, c])")
    return values


def _given_steps(values: ArrayLike | None, shape: tuple[int, ...], draws: int) -> np.ndarray | None:
    if values is None:
        return None
    values = finite("step_noise", values)
    if values.shape[1:] != shape or len(values) < draws:
        raise ValueError(
            f"step_noise has shape {values.shape}; this batch needs {('steps', *shape)} with steps >= {draws}"
        )
    return values if draws else None


def broadcast(columns: Mapping[str, list]) -> tuple[int, dict[str, list]]:
    """The batch's size, and columns of as many entries, from columns of as many or of one.

    Raises:
      ValueError: a column of another length, named.
    """
    size = max(len(column) for column in columns.values())
    odd = {name: len(column) for name, column in columns.items() if len(column) not in (1, size)}
    if odd:
        found = ", ".join(f"{name} has {length}" for name, length in odd.items())
        raise ValueError(f"the batch has {size} samples, but {found}; give one for all or one per sample")
    return size, {name: column * (size // len(column)) for name, column in columns.items()}


def checked_guidance(scales: list[float], rescale: float) -> np.ndarray:
    """[B] float32 guidance scales."""
    if not 0 <= number("guidance_rescale", rescale) <= 1:
        raise ValueError(f"guidance_rescale={rescale} is not in the range [0, 1]")
    values = np.float32([number(f"guidance_scale[{index}]", scale) for index, scale in enumerate(scales)])
    for index in np.flatnonzero(~np.isfinite(values)):
        raise ValueError(f"guidance_scale[{index}]={scales[index]} is not a finite number")
    return values


def _check_fit(
    vae: nnx.Module,
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel | None,
    text_encoder_2: CLIPTextModelWithProjection | None,
) -> None:
    if unet.config.takes_sizes and text_encoder_2 is None:
        raise ValueError("the UNet is one of SDXL (addition_embed_type='text_time'): text_encoder_2 is missing")
    if not unet.config.takes_sizes and (text_encoder is None or text_encoder_2 is not None):
        raise ValueError(
            "the UNet is none of SDXL (its addition_embed_type is not 'text_time'): it takes text_encoder, and no "
            "text_encoder_2"
        )
    wanted = {
        "in_channels": ("the VAE's latent_channels", vae.config.latent_channels),
        "out_channels": ("the VAE's latent_channels", vae.config.latent_channels),
    }
    for name, (source, value) in wanted.items():
        if getattr(unet.config, name) != value:
            raise ValueError(
                f"the UNet has {name}={getattr(unet.config, name)}, but {source} is {value}; image-to-image needs them "
                "equal (inpainting and depth-guided UNets do not fit)"
            )

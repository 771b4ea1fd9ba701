"""Fine-tuning of a pipeline's UNet, whole or by adapters, on a folder of pictures and captions."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from flax import nnx

from img2img_jax.checkpoints import keep_json, tree_digest, write_json
from img2img_jax.diffusion.scheduler import Scheduler
from img2img_jax.file_digest import file_sha256
from img2img_jax.images import open_image, prepare_batch
from img2img_jax.inputs import MANIFEST, Input, find_inputs
from img2img_jax.parallel import local_rows
from img2img_jax.partition import fetched
from img2img_jax.training.diffusion_loss import NoiseTable, errors_at_random
from img2img_jax.training.fit import Batch, FitConfig, fit, newest_step
from img2img_jax.training.latents import encode_pictures
from img2img_jax.training.lora import Adapters, LoraConfig, init_adapters, with_adapters
from img2img_jax.training.optimizer import OptimizerConfig

if TYPE_CHECKING:
    from img2img_jax.pipeline import Img2ImgPipeline


CAPTIONS = 32
"""Read at a time."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuneConfig:
    """How to fine-tune.

    Attributes:
      steps: updates.
      batch_size: pictures an update, drawn with replacement; a multiple of the devices.
      learning_rate: peak. None: 1e-3 for adapters, 1e-4 for the whole UNet.
      lora: adapters to train; None trains all weights of the UNet.
      caption_dropout: share of samples under the empty prompt, so that guidance goes on working.
      flip: pictures are mirrored half the time.
      ema_decay: of the averaged weights, which are the result.
    """

    steps: int = 500
    batch_size: int = 4
    learning_rate: float | None = None
    lora: LoraConfig | None = LoraConfig()
    caption_dropout: float = 0.1
    flip: bool = True
    ema_decay: float = 0.99
    checkpoint_every: int = 100
    seed: int = 0

    def __post_init__(self):
        for name in ("steps", "batch_size", "checkpoint_every"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"{name}={value} is below 1")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed={self.seed} is outside 0 ... 2**32 - 1")
        if not 0 <= self.caption_dropout <= 1:
            raise ValueError(f"caption_dropout={self.caption_dropout} is outside 0 ... 1")

    @property
    def peak_learning_rate(self) -> float:
        if self.learning_rate is not None:
            return self.learning_rate
        return 1e-4 if self.lora is None else 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FineTuned:
    """What came of it.

    Attributes:
      pipeline: with all changes in its UNet.
      adapters: that were trained, to be saved on their own, or None.
      resumed_from: the step this training went on from, 0 for one that began.
    """

    pipeline: Img2ImgPipeline
    adapters: Adapters | None
    resumed_from: int


def finetune(
    pipe: Img2ImgPipeline,
    folder: str | Path,
    *,
    workdir: str | Path,
    config: FineTuneConfig | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> FineTuned:
    """Trains on the pictures of ``folder``, each under its own caption.

    Pictures are encoded and captions read once, before the training; a run that was killed goes on from the newest
    checkpoint in ``workdir``, and one that has ended can be given more steps.

    Args:
      pipe: any pipeline that loads; not changed.
      folder: pictures, with a ``metadata.jsonl`` of one ``{"file_name": ..., "text": ...}`` a line. They are brought
        to ``pipe.native_size`` squares.
      workdir: for checkpoints, ``metrics.jsonl``, and ``run.json``, which says what is trained there on what.
      mesh: to train on; the pipeline's by default. On several hosts, where every host has the pipeline on devices of
        its own, ``make_mesh()`` trains on all of them; folder and workdir must be seen by all.

    Raises:
      ImageError: no pictures, or one that cannot be read.
      ValueError: a picture without a caption; a UNet that takes a guidance embedding, or one to be trained whole whose
        weights are not float32; adapters that fit no layer; a batch that does not split over the devices; a workdir
        that holds another training, or one of more steps.
      FloatingPointError: the training diverged.
    """
    config, mesh = config or FineTuneConfig(), mesh or pipe.mesh
    if pipe.unet.config.time_cond_proj_dim is not None:
        raise ValueError(
            "this UNet is distilled to few steps (it takes a guidance embedding), which fine-tuning would undo; "
            "fine-tune the model it was distilled from"
        )
    narrow = {str(leaf.dtype) for leaf in jax.tree.leaves(nnx.state(pipe.unet)) if leaf.dtype != np.float32}
    if config.lora is None and narrow:
        raise ValueError(
            f"the UNet's weights are {narrow.pop()}, which rounds small updates away; load it with dtype='float32', or "
            "train adapters"
        )
    inputs, rows = captioned_inputs(folder), local_rows(config.batch_size, mesh)
    start = _claim(Path(workdir), _facts(pipe, inputs, config), config.steps)
    samples = CaptionedLatents(pipe, inputs, flip=config.flip)
    graphdef, params = nnx.split(pipe.unet)
    trained, frozen = params, None
    if config.lora is not None:
        trained, frozen = init_adapters(params, config.lora, jax.random.key(config.seed)), params

    def merged(trained: Any, frozen: Any) -> nnx.State:
        return trained if config.lora is None else with_adapters(frozen, trained, config.lora.scale)

    state = fit(
        _loss(graphdef, Scheduler.from_config(pipe.scheduler_config), merged),
        trained,
        samples.batches(config.batch_size, config.caption_dropout, config.seed, rows),
        config=FitConfig(
            steps=config.steps,
            seed=config.seed,
            ema_decay=config.ema_decay,
            log_every=min(20, config.steps),
            checkpoint_every=config.checkpoint_every,
        ),
        optimizer=OptimizerConfig(
            learning_rate=config.peak_learning_rate,
            steps=config.steps,
            warmup_steps=min(50, config.steps // 2),
            weight_decay=0.0,
        ),
        workdir=workdir,
        frozen=frozen,
        mesh=mesh,
        partition=pipe.partition,
    )
    ema = jax.device_get(fetched(state.ema))  # they lie on the mesh that trained, not on the pipeline's
    tuned = jax.tree.map(lambda leaf, like: jax.device_put(leaf, like.sharding), merged(ema, frozen), params)
    unet = nnx.merge(graphdef, tuned)
    return FineTuned(pipeline=pipe.with_unet(unet), adapters=None if config.lora is None else ema, resumed_from=start)


def captioned_inputs(folder: str | Path) -> list[Input]:
    """The pictures of a folder, all of which have captions.

    Raises:
      ImageError: no pictures, or one that is missing or no picture.
      ValueError: a picture without a caption.
    """
    inputs = find_inputs(folder)
    for item in inputs:
        open_image(item.path).close()
    silent = [item.path.name for item in inputs if not (item.prompt or "").strip()]
    if silent:
        raise ValueError(f'{folder}: no caption for {silent[:5]}; give each picture a line with "text" in {MANIFEST}')
    return inputs


def _facts(pipe: Img2ImgPipeline, inputs: list[Input], config: FineTuneConfig) -> dict[str, Any]:
    """What decides on the result, but for the number of steps."""
    networks = [nnx.state(net) for net in (pipe.vae, pipe.unet, pipe.text_encoder, pipe.text_encoder_2) if net]
    pictures = hashlib.sha256(repr([(file_sha256(item.path), item.prompt) for item in inputs]).encode())
    settings = dataclasses.asdict(config) | {"learning_rate": config.peak_learning_rate}
    kept = {name: value for name, value in settings.items() if name not in ("steps", "checkpoint_every")}
    about = {"model": tree_digest(networks), "scheduler_config": pipe.scheduler_config}
    return {"pictures and captions": pictures.hexdigest(), **about, **kept}


def _claim(workdir: Path, facts: dict[str, Any], steps: int) -> int:
    """Says in ``run.json`` what is trained in a directory, unless another's checkpoints are; the step to go on from.

    Raises:
      ValueError: another is there.
    """
    way_out = (
        "use another work directory (of scripts/finetune.py: another --workdir or --output), or delete this one if you "
        "no longer need it"
    )
    start, file = newest_step(workdir), workdir / "run.json"
    if start and not file.is_file():
        raise ValueError(f"{workdir} holds a training, and no run.json says of what: {way_out}")
    if not start:  # what was begun here has left nothing to go on from
        write_json(file, facts)
    elif changed := keep_json(file, facts):
        raise ValueError(f"{workdir} holds a training with other {', '.join(changed)} (see its run.json): {way_out}")
    if start > steps:
        raise ValueError(f"{workdir} holds a training of {start} steps, and not the {steps} asked for: {way_out}")
    return start


class CaptionedLatents:
    """Captioned pictures as a pipeline's networks see them.

    Attributes:
      latents: float32 [pictures, 1 or 2, h, w, c], scaled; of the picture and its mirror image.
      conditions: what the UNet is told under each caption, and last under the empty prompt; leading axis
        pictures + 1.
    """

    def __init__(self, pipe: Img2ImgPipeline, inputs: list[Input], *, flip: bool):
        side = pipe.native_size
        pixels = prepare_batch([item.path for item in inputs], height=side, width=side)
        views = [pixels, pixels[:, :, ::-1]] if flip else [pixels]
        self.latents = np.stack([encode_pictures(pipe.vae, view) for view in views], 1)
        prompts = [item.prompt for item in inputs]
        read = [pipe.conditions(prompts[k : k + CAPTIONS], (side, side)) for k in range(0, len(prompts), CAPTIONS)]
        self.conditions = jax.tree.map(
            lambda *parts: np.concatenate([*(rows[:-1] for rows in parts), parts[0][-1:]]), *read
        )

    def batches(self, size: int, dropout: float, seed: int, rows: np.ndarray | slice = slice(None)):
        """A function from step to ``latents`` and ``conditions`` of pictures drawn at random.

        ``rows``: of a batch of ``size``, those to give; what they are does not depend on the others being given.
        """

        def batch_at(step: int) -> Batch:
            draw = np.random.default_rng((seed, step))
            pictures = draw.integers(len(self.latents), size=size)
            views = draw.integers(self.latents.shape[1], size=size)
            told = np.where(draw.random(size) < dropout, len(self.latents), pictures)[rows]
            pictures, views = pictures[rows], views[rows]
            conditions = jax.tree.map(lambda rows: rows[told], self.conditions)
            return {"latents": self.latents[pictures, views], "conditions": conditions}

        return batch_at


def _loss(graphdef: nnx.GraphDef, scheduler: Scheduler, merged):
    table = NoiseTable.of(scheduler.schedule)

    def loss(trained, frozen, batch, key):
        unet, latents = nnx.merge(graphdef, merged(trained, frozen)), batch["latents"]

        def informed(x, timestep, told):
            return unet(x, timestep, told.text, added=told.added)

        told = batch["conditions"]
        errors, _ = errors_at_random(informed, table, latents, told, key, scheduler.prediction_type)
        return errors.mean(), {}

    return loss

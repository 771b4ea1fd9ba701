"""Stage 4: a student of the finished UNet that needs a few steps only."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx
from latent_cache import LatentCache
from ml_collections import ConfigDict
from preview import Preview
from sheet import save_sheet

from img2img_jax.checkpoints import load_component, read_json
from img2img_jax.data.emoji import EmojiSet
from img2img_jax.data.tokenizer import ClipTokenizer
from img2img_jax.diffusion.scheduler import Scheduler
from img2img_jax.models import AutoencoderKL, CLIPTextModel, UNet2DConditionModel
from img2img_jax.training import FitConfig, OptimizerConfig, fit
from img2img_jax.training.consistency_loss import ConsistencyConfig, loss_fn, student_carried_over, student_of


def initial_student(
    teacher: UNet2DConditionModel, cond_dim: int, init: Path | None, init_teacher: Path | None
) -> UNet2DConditionModel:
    """The teacher's copy; or the network in ``init/unet``, with what the teacher has learnt since ``init_teacher``."""
    if init is None:
        return student_of(teacher, cond_dim)
    student = load_component(UNet2DConditionModel, init / "unet", dtype=jnp.float32)
    if init_teacher is None:
        return student
    before = load_component(UNet2DConditionModel, init_teacher / "unet", dtype=jnp.float32)
    return student_carried_over(student, before, teacher)


def train(
    config: ConfigDict,
    emoji: EmojiSet,
    tokenizer: ClipTokenizer,
    workdir: Path,
    model: Path,
    init: Path | None = None,
    init_teacher: Path | None = None,
) -> None:
    """Distils ``model/unet``; logs how far the student's few-step pictures are from the teacher's of many steps."""
    vae = load_component(AutoencoderKL, model / "vae", dtype=jnp.float32)
    encoder = load_component(CLIPTextModel, model / "text_encoder", dtype=jnp.float32)
    teacher = load_component(UNet2DConditionModel, model / "unet", dtype=jnp.float32)
    cond_dim = config.model.time_cond_proj_dim
    graphdef, params = nnx.split(initial_student(teacher, cond_dim, init, init_teacher))
    (teacher_graphdef, teacher_params), (text_graphdef, text_params) = nnx.split(teacher), nnx.split(encoder)
    schedulers = {
        "teacher": Scheduler.from_config(read_json(model / "scheduler" / "scheduler_config.json")),
        "student": Scheduler.from_config(config.scheduler.to_dict()),
    }
    cache = LatentCache(workdir.parent, emoji, vae, config.num_concepts, config.variants)

    def preview(graphdef: nnx.GraphDef, name: str, steps: int, cond_dim: int | None) -> Preview:
        shape, scheduler = cache.latents.shape[2:], schedulers[name]
        kw = dict(latent_shape=shape, steps=steps, guidance_scale=4.0, cond_dim=cond_dim)
        return Preview(graphdef, vae, encoder, tokenizer, scheduler, config.prompts, **kw)

    many = preview(teacher_graphdef, "teacher", 25, None)(teacher_params)
    few = preview(graphdef, "student", config.preview_steps, cond_dim)

    def evaluate(params: nnx.State, step: int) -> dict[str, float]:
        drawn = few(params)
        save_sheet(workdir / f"preview_{step:06d}.png", [many, drawn])
        return {"rms_to_teacher": float(np.sqrt(np.square((drawn - many.astype(np.float64)) / 255).mean()))}

    schedule, prediction_type = schedulers["teacher"].schedule, schedulers["teacher"].prediction_type
    distillation = ConsistencyConfig(**config.distillation)
    fit(
        loss_fn(graphdef, teacher_graphdef, text_graphdef, schedule, prediction_type, distillation, cond_dim),
        params,
        cache.batches(tokenizer, config.batch_size, dropout=0.0),
        config=FitConfig(**config.fit),
        optimizer=OptimizerConfig(**config.optimizer),
        workdir=workdir,
        frozen=(teacher_params, text_params, np.asarray(tokenizer([""]))[0]),
        evaluate=evaluate,
    )

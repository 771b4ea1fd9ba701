"""Exports finished stages to the diffusers folder layout.

  python experiments/train_emoji/export.py --clip=runs/clip --vae=runs/vae --model=runs/model      (before the UNet)
  python experiments/train_emoji/export.py --unet=runs/unet --score=runs/score --model=runs/model  (after it)
  python experiments/train_emoji/export.py --unet=runs/lcm --model=runs/model_lcm --parts_of=runs/model

The VAE's latents and the text encoder's states are standardised per channel over the training set, folded into the
weights. ``--model`` then loads with this package and with PyTorch diffusers.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from absl import app, flags
from batches import load_emoji, pictures_at
from flax import nnx
from vae_stage import of_decoder

from img2img_jax.checkpoints import load_component, read_json, save_component, write_json, write_model_index
from img2img_jax.data.emoji import EmojiSet
from img2img_jax.data.tokenizer import ClipTokenizer
from img2img_jax.models import (
    AutoencoderKL,
    AutoencoderKLConfig,
    CLIPConfig,
    CLIPModel,
    UNet2DConditionConfig,
    UNet2DConditionModel,
)
from img2img_jax.training.fit import restore_ema
from img2img_jax.training.pixels import to_model
from img2img_jax.training.standardise import standardise_latents, standardise_text_states

_CLIP = flags.DEFINE_string("clip", None, "Work directory of the CLIP stage, whose text tower conditions the UNet.")
_SCORE = flags.DEFINE_string("score", None, "Work directory of the CLIP that scores.")
_VAE = flags.DEFINE_string("vae", None, "Work directory of the VAE stage.")
_UNET = flags.DEFINE_string("unet", None, "Work directory of the UNet stage.")
_PARTS_OF = flags.DEFINE_string("parts_of", None, "Model whose VAE, text encoder and tokenizer to copy; with --unet.")
_MODEL = flags.DEFINE_string("model", None, "Folder of the model to write.", required=True)
_DATA = flags.DEFINE_string("data", None, "Folder of the emoji set; default: the user cache.")
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "float16"], "Of the weights in the files.")


def stage_config(workdir: str) -> dict:
    """What a stage was run with."""
    return read_json(Path(workdir) / "config.json")


def fresh(model_class: type, config_class: type, workdir: str) -> nnx.Module:
    """A stage's network, without weights."""
    config = stage_config(workdir)["model"]
    return nnx.eval_shape(lambda: model_class(config_class.from_dict(config), rngs=nnx.Rngs(0)))


def trained(model: nnx.Module, workdir: str, what: nnx.filterlib.Filter = nnx.Param) -> nnx.Module:
    """The network with the averaged parameters of a stage's newest checkpoint, which holds ``what``."""
    graphdef, state, rest = nnx.split(model, what, ...)
    ema, step = restore_ema(state, workdir)
    print(f"{type(model).__name__}: step {step} of {workdir}")
    return nnx.merge(graphdef, jax.tree.map(jnp.asarray, ema), rest)


def copy_parts(parts: Sequence[str], source: Path, target: Path) -> None:
    """Copies folders of one model to another, unless it is the same."""
    if source.resolve() != target.resolve():
        for part in parts:
            shutil.copytree(source / part, target / part, dirs_exist_ok=True)


def preprocessing(size: int) -> dict:
    """What transformers' image processor must do for pictures to come out as in training: [-1, 1], stretched."""
    square = {"height": size, "width": size}
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": square,
        "resample": 3,  # bicubic
        "do_center_crop": False,
        "crop_size": square,
        "do_normalize": True,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }


def export_vae(workdir: str, emoji: EmojiSet, target: Path) -> None:
    """Standardises the latents over 512 augmented training pictures and saves the VAE.

    Of a run that trained the decoder of a finished VAE the latents stay as they are.
    """
    init = stage_config(workdir).get("init")
    if init is None:
        vae = trained(fresh(AutoencoderKL, AutoencoderKLConfig, workdir), workdir)
        encode = nnx.jit(lambda vae, images: vae.encode(to_model(images))[0])
        draw = pictures_at(emoji, batch_size=32)
        latents = jnp.concatenate([encode(vae, draw(step)[0]) for step in range(16)])
        standardise_latents(vae, latents.mean((0, 1, 2)), latents.std((0, 1, 2)))
    else:
        vae = trained(load_component(AutoencoderKL, Path(init) / "vae", dtype=jnp.float32), workdir, of_decoder)
    save_component(vae, target / "vae", dtype=jnp.dtype(_DTYPE.value))


def export_score(workdir: str, target: Path) -> None:
    """Saves the CLIP that scores."""
    clip = trained(fresh(CLIPModel, CLIPConfig, workdir), workdir)
    save_component(clip, target / "clip", dtype=jnp.dtype(_DTYPE.value))
    write_json(target / "clip" / "preprocessor_config.json", preprocessing(clip.config.vision_config.image_size))


def export_text_encoder(workdir: str, emoji: EmojiSet, target: Path) -> None:
    """Standardises CLIP's text states over 1024 training captions; saves its text tower and the tokenizer."""
    encoder = trained(fresh(CLIPModel, CLIPConfig, workdir), workdir).text_model
    tokenizer_folder = Path(__file__).with_name("tokenizer")
    shutil.copytree(tokenizer_folder, target / "tokenizer", dirs_exist_ok=True)
    captions = pictures_at(emoji, batch_size=1024)(0)[1]
    ids = jnp.asarray(ClipTokenizer.load(tokenizer_folder)(captions))
    states = nnx.jit(lambda encoder, ids: encoder(ids).last_hidden_state)(encoder, ids)
    standardise_text_states(encoder, states.mean((0, 1)), states.std((0, 1)))
    save_component(encoder, target / "text_encoder", dtype=jnp.dtype(_DTYPE.value))


def export_unet(workdir: str, target: Path, parts_of: Path | None = None) -> None:
    """Saves the UNet, the scheduler's configuration and the index that makes the folder a pipeline.

    Args:
      parts_of: a model whose VAE, text encoder and tokenizer the UNet was trained with; copied to ``target``.
    """
    if parts_of is not None:
        copy_parts(("vae", "text_encoder", "tokenizer"), parts_of, target)
    unet = trained(fresh(UNet2DConditionModel, UNet2DConditionConfig, workdir), workdir)
    save_component(unet, target / "unet", dtype=jnp.dtype(_DTYPE.value))
    scheduler = stage_config(workdir)["scheduler"]
    (target / "scheduler").mkdir(parents=True, exist_ok=True)
    write_json(target / "scheduler" / "scheduler_config.json", scheduler)
    write_model_index(target, vae="AutoencoderKL", scheduler=scheduler["_class_name"])


def main(_: list[str]) -> None:
    target = Path(_MODEL.value)
    if _VAE.value:
        export_vae(_VAE.value, load_emoji(_DATA.value, stage_config(_VAE.value)["resolution"]), target)
    if _CLIP.value:
        export_text_encoder(_CLIP.value, load_emoji(_DATA.value, stage_config(_CLIP.value)["resolution"]), target)
    if _SCORE.value:
        export_score(_SCORE.value, target)
    if _UNET.value:
        export_unet(_UNET.value, target, Path(_PARTS_OF.value) if _PARTS_OF.value else None)


if __name__ == "__main__":
    app.run(main)

"""What a path or a hub id leads to: components, scheduler and tokenizers, found but not yet read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from img2img_jax.checkpoints.errors import CheckpointError
from img2img_jax.checkpoints.families import CLIP_TOKENIZER
from img2img_jax.checkpoints.hub import resolve
from img2img_jax.checkpoints.json_file import read_json
from img2img_jax.checkpoints.links import refuse_links_out
from img2img_jax.checkpoints.model_index import read_model_index
from img2img_jax.checkpoints.single_file import open_single_file
from img2img_jax.checkpoints.stored_component import StoredComponent, stored_component
from img2img_jax.checkpoints.weight_files import WeightNames

_NETWORKS = ("vae", "unet")
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
OPEN_CLIP_PADDING = "!"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenizerSource:
    """Where a tokenizer comes from: a folder or a hub id, and the token it pads with if not its own."""

    origin: str | Path
    pad_token: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint whose tables of contents are read, its tensors not.

    Attributes:
      origin: the folder, or the single file.
      components: "vae", "unet" and at least one of ``TEXT_ENCODERS``.
      tokenizers: one for each text encoder, by the encoder's name.
      scheduler_config: ``scheduler_config.json``.
      flags: SDXL's, of ``model_index.json``.
    """

    origin: Path
    components: Mapping[str, StoredComponent]
    tokenizers: Mapping[str, TokenizerSource]
    scheduler_config: Mapping[str, Any]
    flags: Mapping[str, bool]


def open_checkpoint(
    path_or_hub_id: str | Path,
    *,
    revision: str | None = None,
    variant: str | None = None,
    family: str | None = None,
    config: str | Path | None = None,
    tokenizer: str | Path | None = None,
    prediction_type: str | None = None,
) -> Checkpoint:
    """Opens a folder in the diffusers layout, a hub id, or a single file in the original layout.

    Args:
      path_or_hub_id, revision, variant: see ``resolve``.
      family: of a single file: a key of ``FAMILIES``; by default recognised.
      config: for a single file: a folder in the diffusers layout whose configurations are taken, its weights not.
      tokenizer: a folder with a CLIP tokenizer or a hub id, in place of the checkpoint's.
      prediction_type: "epsilon", "v_prediction" or "sample", in place of the checkpoint's.

    Raises:
      CheckpointError: there is no such checkpoint, it is broken or incomplete, or an argument does not apply.
    """
    if prediction_type not in (None, *PREDICTION_TYPES):
        raise CheckpointError(f"prediction_type={prediction_type!r} is not known; choose one of {PREDICTION_TYPES}")
    origin = resolve(path_or_hub_id, revision=revision, variant=variant)
    if origin.is_dir():
        for name, value in (("family", family), ("config", config)):
            if value is not None:
                raise CheckpointError(f"{name}={str(value)!r} is for single files; {origin} is a folder: leave it out")
        checkpoint = _open_folder(origin, variant)
    else:
        if variant is not None:
            raise CheckpointError(f"variant={variant!r} is for folders; {origin} is a file: leave it out")
        checkpoint = _open_file(origin, family, config, prediction_type is None)
    changes: dict[str, Any] = {}
    if tokenizer is not None:
        given = {name: dataclasses.replace(source, origin=tokenizer) for name, source in checkpoint.tokenizers.items()}
        changes["tokenizers"] = given
    if prediction_type is not None:
        changes["scheduler_config"] = {**checkpoint.scheduler_config, "prediction_type": prediction_type}
    return dataclasses.replace(checkpoint, **changes)


def _open_folder(folder: Path, variant: str | None) -> Checkpoint:
    refuse_links_out(folder)
    index = read_model_index(folder)
    texts = [name for name in TEXT_ENCODERS if index.has(name)] or list(TEXT_ENCODERS[:1])
    return Checkpoint(
        origin=folder,
        flags=index.flags,
        # What is small first, so that what is missing there is said before the weights are looked at.
        scheduler_config=_read_config(folder, "scheduler"),
        tokenizers={name: _tokenizer_folder(folder, name) for name in texts},
        components={name: stored_component(folder / name, _names(name, variant)) for name in (*_NETWORKS, *texts)},
    )


def _open_file(path: Path, family: str | None, config: str | Path | None, warn: bool) -> Checkpoint:
    folder = None if config is None else Path(config).expanduser()
    if folder is not None and not folder.is_dir():
        raise CheckpointError(f"config={str(config)!r} is no folder; give one in the diffusers layout")
    configs = {} if folder is None else _configs(folder)
    known, components, scheduler = open_single_file(path, family=family, configs=configs, warn=warn and folder is None)
    tokenizers = {}
    for name, prefix in known.towers.items():
        if folder is not None and (folder / tokenizer_name(name)).is_dir():
            tokenizers[name] = _tokenizer_folder(folder, name)
        else:
            pad = OPEN_CLIP_PADDING if prefix.endswith(".model.") else None
            tokenizers[name] = TokenizerSource(origin=CLIP_TOKENIZER, pad_token=pad)
    if folder is not None and (folder / "scheduler").is_dir():
        scheduler = _read_config(folder, "scheduler")
    flags = dict(known.flags) if folder is None else dict(known.flags) | read_model_index(folder).flags
    return Checkpoint(
        origin=path, components=components, tokenizers=tokenizers, scheduler_config=scheduler, flags=flags
    )


def _configs(folder: Path) -> dict[str, dict[str, Any]]:
    refuse_links_out(folder)
    names = [name for name in (*_NETWORKS, *TEXT_ENCODERS) if (folder / name).is_dir()]
    return {name: _read_config(folder, name) for name in names}


def _read_config(folder: Path, name: str) -> dict[str, Any]:
    refuse_links_out(folder / name)
    return read_json(folder / name / ("scheduler_config.json" if name == "scheduler" else "config.json"))


def tokenizer_name(text_encoder: str) -> str:
    """The component that holds a text encoder's tokenizer."""
    return text_encoder.replace("text_encoder", "tokenizer")


def _tokenizer_folder(folder: Path, text_encoder: str) -> TokenizerSource:
    refuse_links_out(folder / tokenizer_name(text_encoder))
    return TokenizerSource(origin=folder / tokenizer_name(text_encoder))


def _names(component: str, variant: str | None) -> WeightNames:
    stem = "model" if component in TEXT_ENCODERS else "diffusion_pytorch_model"
    return WeightNames(stem=stem, variant=variant)

"""A whole pipeline in one ``.safetensors`` file with the keys of the original code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import logging

from img2img_jax.checkpoints.errors import CheckpointError
from img2img_jax.checkpoints.families import FAMILIES, Family
from img2img_jax.checkpoints.key_table import KeyRules
from img2img_jax.checkpoints.original_layout import CLIP, OPEN_CLIP, unet_rules, vae_rules
from img2img_jax.checkpoints.parameters import listed
from img2img_jax.checkpoints.safetensors_file import StoredTensor, stored_metadata, stored_tensors
from img2img_jax.checkpoints.stored_component import StoredComponent

UNET, VAE = "model.diffusion_model.", "first_stage_model."
_PROBE = UNET + "input_blocks.0.0.weight"
# Buffers of the training code, a copy of the weights, and the marks by which v-prediction fine-tunes are known.
_SURPLUS = re.compile(
    r"(model_ema|denoiser|embedding_manager)\.|(betas|alphas_cumprod|alphas_cumprod_prev|logvar|lvlb_weights|v_pred"
    r"|ztsnr|global_step|scale_factor|sqrt_\w+|log_one_minus_\w+|posterior_\w+)$"
)
_PREDICTIONS = {"v": "v_prediction", "v_prediction": "v_prediction", "epsilon": "epsilon", "eps": "epsilon"}


def recognise(tensors: Mapping[str, StoredTensor], path: Path) -> str:
    """The family of a file, a key of ``FAMILIES``, from its keys and shapes.

    Raises:
      CheckpointError: it is no Stable Diffusion in the original layout; the message says what is missing.
    """
    if _PROBE not in tensors:
        raise CheckpointError(
            f"{path} has no {_PROBE}: it is no whole checkpoint in the original Stable Diffusion layout (it has "
            f"{listed('keys', sorted(tensors))}); a LoRA goes into loras, a VAE into vae"
        )
    shape = tensors[_PROBE].shape
    if len(shape) == 4 and shape[1] != 4:
        raise CheckpointError(
            f"{path}: the UNet takes {shape[1]} channels, image-to-image needs 4 (inpainting and instruct models "
            "do not fit)"
        )
    for name, family in reversed(FAMILIES.items()):  # the richer layouts first: they hold what marks the others
        if all(any(key.startswith(prefix) for key in tensors) for prefix in family.towers.values()):
            return name
    raise CheckpointError(
        f"{path} holds no text encoder of {', '.join(FAMILIES)}; load a folder in the diffusers layout instead"
    )


def open_single_file(
    path: Path,
    *,
    family: str | None = None,
    configs: Mapping[str, Mapping[str, Any]] | None = None,
    warn: bool = True,
) -> tuple[Family, dict[str, StoredComponent], dict[str, Any]]:
    """The family, the components under the diffusers layout's keys, and the scheduler's configuration.

    Args:
      path: of the file.
      family: a key of ``FAMILIES``; by default recognised.
      configs: configurations by component, in place of the family's.
      warn: whether to log that the prediction type had to be assumed.

    Raises:
      CheckpointError: the file is broken or of no known family, or a key has no place.
    """
    tensors = stored_tensors(path)
    if family is not None and family not in FAMILIES:
        raise CheckpointError(f"family={family!r} is not known; choose one of {', '.join(FAMILIES)}")
    name = family or recognise(tensors, path)
    known, configs = FAMILIES[name], configs or {}
    prefixes = {"unet": UNET, "vae": VAE, **known.towers}
    parts: dict[str, dict[str, StoredTensor]] = {component: {} for component in prefixes}
    homeless = []
    for key, tensor in tensors.items():
        component = next((c for c, prefix in prefixes.items() if key.startswith(prefix)), None)
        if component is not None:
            parts[component][key.removeprefix(prefixes[component])] = tensor
        elif not _SURPLUS.match(key):
            homeless.append(key)
    if homeless:
        raise CheckpointError(f"{path} was taken for family {name!r}, but has {listed('unmatched', sorted(homeless))}")
    components = {
        component: _component(component, part, configs.get(component, known.components[component]), known, path)
        for component, part in parts.items()
    }
    return known, components, dict(known.scheduler) | _prediction(tensors, path, known, warn)


def _component(
    component: str, tensors: dict[str, StoredTensor], config: Mapping[str, Any], family: Family, path: Path
) -> StoredComponent:
    if not tensors:
        raise CheckpointError(f"{path} holds no {component}; give one (vae=...), or load a folder")
    try:
        if component == "unet":
            renamed = renamed_tensors(tensors, unet_rules(config), path)
        elif component == "vae":
            renamed = original_vae(tensors, config, path)
        elif family.towers[component].endswith(".model."):
            renamed = _open_clip(renamed_tensors(tensors, OPEN_CLIP, path), config)
        else:
            renamed = renamed_tensors(tensors, CLIP, path)
    except KeyError as error:
        raise CheckpointError(f"the configuration of {component} has no {error}") from error
    return StoredComponent(config=config, tensors=renamed, origin=path)


def renamed_tensors(tensors: Mapping[str, StoredTensor], rules: KeyRules, path: Path) -> dict[str, StoredTensor]:
    """Tensors under the keys that ``rules`` give them.

    Raises:
      CheckpointError: two keys become one.
    """
    renamed: dict[str, StoredTensor] = {}
    for key, tensor in tensors.items():
        canonical = rules.canonical(key)
        if canonical in renamed:
            raise CheckpointError(f"{path}: {key} and another key both name {canonical}; remove one")
        if canonical is not None:
            renamed[canonical] = tensor
    return renamed


def original_vae(tensors: Mapping[str, StoredTensor], config: Mapping[str, Any], path: Path) -> dict[str, StoredTensor]:
    """An AutoencoderKL's tensors; the original's attention projects by 1x1 convolutions."""
    renamed = renamed_tensors(tensors, vae_rules(config), path)
    return {
        key: tensor.reshaped(tensor.shape[:2])
        if ".attentions." in key and tensor.shape[2:] in ((1, 1), (1,))
        else tensor
        for key, tensor in renamed.items()
    }


def _open_clip(tensors: Mapping[str, StoredTensor], config: Mapping[str, Any]) -> dict[str, StoredTensor]:
    """transformers' form: three projections for one matrix, no layer beyond those that are used."""
    layers, projects = config["num_hidden_layers"], config["architectures"] == ["CLIPTextModelWithProjection"]
    result: dict[str, StoredTensor] = {}
    for key, tensor in tensors.items():
        layer = re.match(r"text_model\.encoder\.layers\.(\d+)\.", key)
        if layer and int(layer[1]) == layers:
            continue
        if key == "text_projection.weight":
            if projects:
                result[key] = tensor.transpose
        elif ".in_proj." in key:
            for name, part in zip(("q_proj", "k_proj", "v_proj"), tensor.split(3), strict=True):
                result[key.replace("in_proj", name)] = part
        else:
            result[key] = tensor
    return result


def _prediction(tensors: Mapping[str, StoredTensor], path: Path, family: Family, warn: bool) -> dict[str, Any]:
    """What the file itself says about its prediction type: marks among its keys, or its metadata."""
    said = _PREDICTIONS.get(str(stored_metadata(path).get("modelspec.prediction_type")).lower())
    marks: dict[str, Any] = {"rescale_betas_zero_snr": True} if "ztsnr" in tensors else {}
    if "v_pred" in tensors or said:
        return marks | {"prediction_type": said or "v_prediction"}
    if warn and family.ambiguous_prediction:
        logging.warning(
            "%s does not say what it predicts; %s is assumed. If pictures are noise, give prediction_type='epsilon'",
            path,
            family.scheduler["prediction_type"],
        )
    return marks

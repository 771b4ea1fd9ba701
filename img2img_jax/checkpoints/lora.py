"""LoRA files: whose layer each tensor belongs to, in the layouts of kohya, PEFT and diffusers old and new."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from img2img_jax.checkpoints.errors import CheckpointError
from img2img_jax.checkpoints.json_file import parse_json_object, read_json
from img2img_jax.checkpoints.key_table import KeyRules
from img2img_jax.checkpoints.low_rank import LowRank, merged
from img2img_jax.checkpoints.original_layout import unet_modules
from img2img_jax.checkpoints.parameters import listed
from img2img_jax.checkpoints.safetensors_file import StoredTensor, stored_metadata, stored_tensors
from img2img_jax.checkpoints.stored_component import StoredComponent

Lora: TypeAlias = str | Path | tuple[str | Path, float]
"""A file, or a file and its weight (1 by default)."""

_FOLDER_FILES = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")
_FACTORS = (
    (r"\.lora_down\.weight$", "down"),
    (r"\.lora_mid\.weight$", "mid"),
    (r"\.lora_up\.weight$", "up"),
    (r"\.lora_A(\.\w+)?\.weight$", "down"),
    (r"\.lora_B(\.\w+)?\.weight$", "up"),
    (r"(\.lora|_lora|\.lora_linear_layer)\.down\.weight$", "down"),
    (r"(\.lora|_lora|\.lora_linear_layer)\.up\.weight$", "up"),
    (r"\.alpha$", "alpha"),
)
_PREFIXES = {
    "lora_unet_": "unet",
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "unet.": "unet",
    "text_encoder.": "text_encoder",
    "text_encoder_2.": "text_encoder_2",
}
_MODULES = KeyRules(
    prefix="base_model.model.",
    renames=(
        (r"\.processor\.", "."),
        (r"\.self_attn\.to_(q|k|v)$", r".self_attn.\1_proj"),
        (r"\.self_attn\.to_out$", ".self_attn.out_proj"),
        (r"\.to_out$", ".to_out.0"),
    ),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoraFile:
    """A LoRA file, sorted by layers.

    Attributes:
      path: of the file.
      layers: (component, module as the file names it) -> its factors, by "down", "mid", "up" and "alpha".
      unknown: keys that are no factor.
      settings: alpha and the like by component, where the layout keeps them apart from the tensors.
    """

    path: Path
    layers: Mapping[tuple[str, str], Mapping[str, tuple[str, StoredTensor]]]
    unknown: Sequence[str]
    settings: Mapping[str, Mapping[str, Any]]

    def keys(self, layer: tuple[str, str]) -> list[str]:
        """The file's keys of a layer."""
        return [key for key, _ in self.layers[layer].values()]

    def update(self, layer: tuple[str, str], weight: float) -> LowRank:
        """A layer's update.

        Raises:
          CheckpointError: a factor is missing, or alpha is no finite number.
        """
        factors = {role: tensor for role, (_, tensor) in self.layers[layer].items()}
        if not {"down", "up"} <= factors.keys() or not factors["down"].shape:
            raise CheckpointError(f"{self.path}: {layer[1]} has {sorted(factors)}, must have down and up")
        rank = factors["down"].shape[0] or 1
        settings = self.settings.get(layer[0], {})
        alpha = _alpha(settings, layer[1], rank)
        if "alpha" in factors:
            values = factors["alpha"].read()
            alpha = float(values.ravel()[0]) if values.size == 1 else math.nan
        scale = weight * alpha / (math.sqrt(rank) if settings.get("use_rslora") is True else rank)
        if not math.isfinite(scale):
            raise CheckpointError(f"{self.path}: {layer[1]} has alpha {alpha} and weight {weight}, no finite scale")
        return LowRank(down=factors["down"], up=factors["up"], mid=factors.get("mid"), scale=scale)


def with_loras(components: Mapping[str, StoredComponent], loras: Sequence[Lora]) -> dict[str, StoredComponent]:
    """Components whose weights, when they are read, hold ``loras`` merged in; nothing is read here.

    Raises:
      CheckpointError: a file is broken; a key belongs to no layer of the checkpoint; shapes do not fit.
      ValueError: a weight is not a finite number.
    """
    result = dict(components)
    for entry in loras:
        path, weight = entry if isinstance(entry, tuple) else (entry, 1.0)
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight):
            raise ValueError(f"the LoRA {path} has weight {weight!r}; give a finite number, usually between 0 and 1")
        result = _with_lora(result, read_lora(path), float(weight))
    return result


def read_lora(path: str | Path) -> LoraFile:
    """Sorts the keys of a file, or of the file that diffusers or PEFT saved to a folder.

    Raises:
      CheckpointError: there is no such file, it is broken, or one layer is there twice.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        path = next((path / name for name in _FOLDER_FILES if (path / name).is_file()), path / _FOLDER_FILES[0])
    layers: dict[tuple[str, str], dict[str, tuple[str, StoredTensor]]] = {}
    unknown = []
    for key, tensor in stored_tensors(path).items():
        match, role = next(((m, role) for pattern, role in _FACTORS if (m := re.search(pattern, key))), (None, ""))
        if match is None:
            unknown.append(key)
            continue
        factors = layers.setdefault(_layer(key[: match.start()]), {})
        if role in factors:
            raise CheckpointError(f"{path}: {factors[role][0]} and {key} are the same factor; remove one")
        factors[role] = (key, tensor)
    return LoraFile(path=path, layers=layers, unknown=unknown, settings=_settings(path))


def _layer(name: str) -> tuple[str, str]:
    """Component and module of a key without its ending."""
    prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), None)
    module = _MODULES.canonical(name.removeprefix(prefix or ""))
    if prefix is not None:
        return _PREFIXES[prefix], module
    return ("text_encoder" if module.startswith("text_model.") else "unet"), module


def _with_lora(components: Mapping[str, StoredComponent], lora: LoraFile, weight: float) -> dict[str, StoredComponent]:
    tensors = {name: dict(component.tensors) for name, component in components.items()}
    places = {name: _places(component) for name, component in components.items() if name != "vae"}
    unmatched, taken = list(lora.unknown), set()
    for layer in lora.layers:
        component, module = layer
        key = places.get(component, {}).get(module.removeprefix("text_model.").removeprefix("text_model_"))
        if key is None:
            unmatched += lora.keys(layer)
            continue
        if (component, key) in taken:
            raise CheckpointError(f"{lora.path}: two layers are for {component} {key}; remove one")
        taken.add((component, key))
        tensors[component][key] = merged(f"{component} {key}", tensors[component][key], lora.update(layer, weight))
    if unmatched or not taken:
        raise CheckpointError(
            f"{lora.path} does not fit this checkpoint: {listed('unmatched', sorted(unmatched))}. Low-rank factors of "
            "linear layers and convolutions are supported; DoRA, LoHa, LoKr and others are not"
        )
    return {name: dataclasses.replace(part, tensors=tensors[name]) for name, part in components.items()}


def _places(component: StoredComponent) -> dict[str, str]:
    """Every name by which a LoRA may mean a weight -> the weight's key."""
    places = {}
    original = KeyRules()
    if "down_block_types" in component.config:
        original = KeyRules(modules={new: old for old, new in unet_modules(component.config).items()})
    for key in component.tensors:
        if key.endswith(".weight"):
            module = key.removesuffix(".weight").removeprefix("text_model.")
            for name in (module, original.canonical(module)):
                places |= {name: key, name.replace(".", "_"): key}
    return places


def _settings(path: Path) -> dict[str, Mapping[str, Any]]:
    """PEFT's settings by component: from the header, where diffusers writes them, or from the file beside."""
    packed = stored_metadata(path).get("lora_adapter_metadata")
    if packed is not None:
        settings: dict[str, dict[str, Any]] = {}
        for key, value in parse_json_object(str(packed).encode(), path).items():
            component, _, name = key.partition(".")
            settings.setdefault(component, {})[name] = value
        return settings
    beside = path.with_name("adapter_config.json")
    if path.name == _FOLDER_FILES[1] and beside.is_file():
        return dict.fromkeys(("unet", "text_encoder"), read_json(beside))
    return {}


def _alpha(settings: Mapping[str, Any], module: str, rank: int) -> float:
    """PEFT's alpha of a layer; the rank where nothing is said, which makes the scale 1."""
    patterns = settings.get("alpha_pattern")
    for name, alpha in (patterns if isinstance(patterns, dict) else {}).items():
        if module == name or module.endswith(f".{name}"):
            return _number(alpha)
    return _number(settings.get("lora_alpha", rank))


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and abs(value) < 1e9 else math.nan

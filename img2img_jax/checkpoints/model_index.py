"""``model_index.json``: which classes the components of a pipeline folder are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from img2img_jax.checkpoints.errors import CheckpointError
from img2img_jax.checkpoints.json_file import read_json, write_json

_FILE = "model_index.json"
_FLAGS = ("requires_aesthetics_score", "force_zeros_for_empty_prompt")
_TOKENIZERS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
_CLASSES = {
    "unet": ["diffusers", "UNet2DConditionModel"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelIndex:
    """The index of a folder, which need not have one."""

    folder: Path
    values: Mapping[str, Any]

    def has(self, component: str) -> bool:
        """Whether the checkpoint has a component: by the index, or where that is silent by the folder."""
        if component not in self.values:
            return (self.folder / component).is_dir()
        entry = self.values[component]
        return isinstance(entry, list) and bool(entry) and entry[0] is not None

    @property
    def flags(self) -> dict[str, bool]:
        """SDXL's flags, as far as the index has them.

        Raises:
          CheckpointError: one is neither true nor false.
        """
        given = {name: self.values[name] for name in _FLAGS if name in self.values}
        for name, value in given.items():
            if not isinstance(value, bool):
                raise CheckpointError(f"{self.folder / _FILE}: {name} is {value!r}; set it to true or false")
        return given


def read_model_index(folder: Path) -> ModelIndex:
    """Reads the index; a folder without one has an empty one.

    Raises:
      CheckpointError: the file is no JSON object.
    """
    values = read_json(folder / _FILE) if (folder / _FILE).is_file() else {}
    return ModelIndex(folder=folder, values=values)


def write_model_index(
    folder: Path,
    *,
    vae: str,
    scheduler: str,
    text_encoders: Sequence[str] = ("text_encoder",),
    **flags: bool,
) -> None:
    """Writes the index of a Stable Diffusion folder, or of an SDXL one.

    Args:
      vae, scheduler: class names of diffusers.
      text_encoders: ``"text_encoder"``, for SDXL ``"text_encoder_2"`` as well, for its refiner that one alone.
      **flags: SDXL's ``requires_aesthetics_score`` and ``force_zeros_for_empty_prompt``; not written for others.
    """
    is_xl = "text_encoder_2" in text_encoders
    own = {"vae": ["diffusers", vae], "scheduler": ["diffusers", scheduler]}
    names = ["unet", *text_encoders, *(_TOKENIZERS[name] for name in text_encoders)]
    absent = ["feature_extractor", "image_encoder", *(set(_TOKENIZERS) if is_xl else ["safety_checker"])]
    write_json(
        folder / _FILE,
        {
            "_class_name": "StableDiffusionXLImg2ImgPipeline" if is_xl else "StableDiffusionImg2ImgPipeline",
            **(flags if is_xl else {"requires_safety_checker": False}),
            **{name: [None, None] for name in absent},
            **own,
            **{name: _CLASSES[name] for name in names},
        },
    )

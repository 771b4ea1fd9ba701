"""What each model class's files look like, where the rule "path mirrors key" is not the whole truth."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from img2img_jax.checkpoints.errors import CheckpointError


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeyRules:
    """How the keys of one layout become the keys that a model's parameters have today.

    Attributes:
      prefix: that keys may or may not carry in a file.
      modules: names of modules in the layout, with today's; the longest that a key begins with counts.
      renames: (regular expression, replacement) pairs, applied in turn after ``modules``.
      ignored: regular expression for buffers that are no parameters.
    """

    prefix: str = ""
    modules: Mapping[str, str] = dataclasses.field(default_factory=dict)
    renames: tuple[tuple[str, str], ...] = ()
    ignored: str | None = None

    def canonical(self, key: str) -> str | None:
        """Today's key without prefix, or ``None`` for a buffer to ignore."""
        if self.ignored is not None and re.search(self.ignored, key):
            return None
        key = self._in_todays_module(key.removeprefix(self.prefix))
        for pattern, replacement in self.renames:
            key = re.sub(pattern, replacement, key)
        return key

    def _in_todays_module(self, key: str) -> str:
        end = len(key) if self.modules else 0
        while end > 0:
            if key[:end] in self.modules:
                return self.modules[key[:end]] + key[end:]
            end = key.rfind(".", 0, end)
        return key


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeyTable(KeyRules):
    """The file side of one model class: its rules (the prefix is written when saving) and what its folder holds.

    Attributes:
      stem: of the weight files' names.
      config: entries of ``config.json`` by which PyTorch's loaders recognise the class.
    """

    stem: str
    config: Mapping[str, Any]


def _diffusers(class_name: str, **kw: Any) -> KeyTable:
    return KeyTable(stem="diffusion_pytorch_model", config={"_class_name": class_name}, **kw)


# Releases before 4.31 stored the row numbers of the position embedding.
_POSITION_IDS = r"(^|\.)embeddings\.position_ids$"


def _transformers(class_name: str, model_type: str, *, ignored: str = _POSITION_IDS, **kw: Any) -> KeyTable:
    # transformers 5 computes in the dtype of the file unless the configuration names one; diffusers' other parts are
    # float32 by default, and halves saved to save space would not fit them.
    config = {"architectures": [class_name], "model_type": model_type, "dtype": "float32"}
    return KeyTable(stem="model", config=config, ignored=ignored, **kw)


_OLD_VAE_ATTENTION = tuple(
    (rf"(\.mid_block\.attentions\.\d+)\.{old}\.(weight|bias)$", rf"\1.{new}.\2")
    for old, new in {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}.items()
)
"""Until diffusers 0.12 the VAE's attention had names of its own; SD 1.x checkpoints still have them."""

_LPIPS_PACKAGE = ((r"^net\.slice\d+\.", "features."), (r"^lin(\d)\.model\.\d\.", r"lin.\1."))
"""The ``lpips`` package's own keys; those of its backbones are torchvision's, cut into slices."""
_LPIPS_COPIES = r"^(scaling_layer|lins)\."
"""Constants, and the linear layers under a second name."""

KEY_TABLES: Mapping[str, KeyTable] = {
    "AutoencoderKL": _diffusers("AutoencoderKL", renames=_OLD_VAE_ATTENTION),
    "AutoencoderTiny": _diffusers("AutoencoderTiny"),
    "UNet2DConditionModel": _diffusers("UNet2DConditionModel"),
    # transformers 5 dropped the prefix and reads both; transformers 4 reads only keys with it.
    "CLIPTextModel": _transformers("CLIPTextModel", "clip_text_model", prefix="text_model."),
    "CLIPTextModelWithProjection": _transformers("CLIPTextModelWithProjection", "clip_text_model"),
    "CLIPModel": _transformers("CLIPModel", "clip"),
    # A head for classification, and a token for training.
    "ViTModel": _transformers("ViTModel", "vit", ignored=r"^(pooler|embeddings\.mask_token)\b"),
    "LPIPS": KeyTable(stem="model", config={"_class_name": "LPIPS"}, renames=_LPIPS_PACKAGE, ignored=_LPIPS_COPIES),
}


def key_table(class_name: str) -> KeyTable:
    """The table of a model class.

    Raises:
      CheckpointError: no such class.
    """
    if class_name not in KEY_TABLES:
        raise CheckpointError(f"no key table for {class_name}; known: {sorted(KEY_TABLES)}")
    return KEY_TABLES[class_name]

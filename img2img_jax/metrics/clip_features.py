"""Pictures and texts in CLIP's space: what the CLIP metrics, KID and CMMD compare."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from img2img_jax.checkpoints import EMBEDDED_MODEL, ShardingRule, TokenizerSource, load_component, read_json, resolve
from img2img_jax.metrics.resize import normalised, to_square
from img2img_jax.models import CLIPModel
from img2img_jax.prompts import load_tokenizer, tokenize
from img2img_jax.types import TokenIds, UnitImage

EMBEDDED_CLIP = EMBEDDED_MODEL / "clip"
"""The CLIP that ships with the package: it knows emoji art and nothing else."""
_OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
_OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
_TEXTS_A_CALL = 16


class CLIPFeatures:
    """A CLIP, its tokenizer and its normalisation of pictures.

    Attributes:
      size: side in pixels that pictures are resized to.
    """

    def __init__(
        self,
        model: CLIPModel,
        tokenizer: Any,
        *,
        mean: Sequence[float] = _OPENAI_MEAN,
        std: Sequence[float] = _OPENAI_STD,
    ):
        self.size = model.config.vision_config.image_size
        self._tokenizer, self._length = tokenizer, model.config.text_config.max_position_embeddings
        self._normalisation = (tuple(mean), tuple(std))
        self._graphdef, self._state = nnx.split(model)
        self._known: dict[str, np.ndarray] = {}

    @classmethod
    def load(
        cls,
        path_or_hub_id: str | Path = EMBEDDED_CLIP,
        *,
        revision: str | None = None,
        sharding: ShardingRule | None = None,
    ) -> CLIPFeatures:
        """Loads a ``CLIPModel`` as transformers saves it (safetensors).

        The tokenizer is taken from the folder, or from one called ``tokenizer`` beside it. Mean and standard deviation
        of pictures are those of ``preprocessor_config.json``, or OpenAI's where there is none.

        Raises:
          CheckpointError: no such checkpoint, or a part of it is missing or broken.
        """
        folder = resolve(path_or_hub_id, revision=revision)
        has_own = any((folder / name).is_file() for name in ("vocab.json", "tokenizer.json"))
        settings = folder / "preprocessor_config.json"
        values = read_json(settings) if settings.is_file() else {}
        return cls(
            load_component(CLIPModel, folder, sharding=sharding),
            load_tokenizer(TokenizerSource(origin=folder if has_own else folder.parent / "tokenizer")),
            mean=values.get("image_mean", _OPENAI_MEAN),
            std=values.get("image_std", _OPENAI_STD),
        )

    def pictures(self, images: UnitImage) -> Float[Array, "b p"]:
        """Unit features of pictures, resized straight to the network's size: bicubic, without antialiasing."""
        return _picture_features(self._graphdef, self._normalisation, self._state, images)

    def texts(self, texts: Sequence[str]) -> Float[np.ndarray, "b p"]:
        """Unit features of texts; each distinct one is read once in the life of this object."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        for start in range(0, len(new), _TEXTS_A_CALL):
            chunk = new[start : start + _TEXTS_A_CALL]
            # Always as many, so that any number of texts compiles once.
            filled = chunk + [""] * (_TEXTS_A_CALL - len(chunk))
            features = _text_features(self._graphdef, self._state, tokenize(self._tokenizer, filled, self._length))
            self._known |= dict(zip(chunk, np.asarray(features), strict=False))
        return np.stack([self._known[text] for text in texts])


@partial(jax.jit, static_argnums=(0, 1))
def _picture_features(
    graphdef: nnx.GraphDef, normalisation: tuple, state: nnx.State, images: UnitImage
) -> Float[Array, "b p"]:
    clip = nnx.merge(graphdef, state)
    # InstructPix2Pix resizes so; PyTorch's bicubic kernel differs from the others'.
    images = to_square(
        images, clip.config.vision_config.image_size, method=jax.image.ResizeMethod.CUBIC_PYTORCH, antialias=False
    )
    return clip.image_features(normalised(images, *normalisation))


@partial(jax.jit, static_argnums=0)
def _text_features(graphdef: nnx.GraphDef, state: nnx.State, input_ids: TokenIds) -> Float[Array, "b p"]:
    return nnx.merge(graphdef, state).text_features(input_ids)

"""The way in: pictures, and what they were made from, to numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Shaped

from img2img_jax.metrics.clip_features import EMBEDDED_CLIP, CLIPFeatures
from img2img_jax.metrics.cmmd import cmmd
from img2img_jax.metrics.comparison import Comparison
from img2img_jax.metrics.kid import kid
from img2img_jax.metrics.lpips import PerceptualDistance
from img2img_jax.metrics.registry import METRICS
from img2img_jax.metrics.structure_distance import StructureDistance
from img2img_jax.parallel import Placement, replicated
from img2img_jax.types import Latents, UnitImage


class Evaluator:
    """Computes metrics of batches; networks are loaded once, programs compile once per picture size and batch size.

    Everything is computed per sample, where the pictures lie: batches that were split over a mesh
    (``img2img_jax.parallel.shard_batch``) give values split alike, and with ``mesh`` it splits them itself.

    Attributes:
      names: of the metrics asked for, or None for all that a batch has the inputs for.
    """

    def __init__(self, networks: Mapping[str, Any], names: Sequence[str] | None = None, *, mesh: Mesh | None = None):
        """Takes loaded networks by the names of ``Metric.network``; ``Evaluator.load`` loads them."""
        unknown = [name for name in names or () if name not in METRICS]
        if unknown:
            raise ValueError(f"metric {unknown[0]!r} is not known; choose from {', '.join(METRICS)}")
        self.names, self.mesh, self._networks = names, mesh, dict(networks)

    @classmethod
    def load(
        cls,
        names: Sequence[str] | None = None,
        *,
        clip: str | Path | None = EMBEDDED_CLIP,
        lpips: str | Path | Sequence[str | Path] = (),
        dino: str | Path | None = None,
        mesh: Mesh | None = None,
    ) -> Evaluator:
        """Loads networks from folders or the Hugging Face hub (safetensors only).

        Args:
          names: of metrics in ``METRICS``; None for every metric that a batch has the inputs for.
          clip: a transformers ``CLIPModel``; by default the one that ships with the package. None for no CLIP.
          lpips: folders of ``scripts/export_lpips.py``, one or several; each says which backbone it is.
          dino: a transformers ``ViTModel``, such as ``facebook/dino-vitb8``.
          mesh: devices to split batches over, filled up if they do not split evenly; the networks are on all of them.

        Raises:
          CheckpointError: no such checkpoint, or it is broken.
          ValueError: an unknown name.
        """
        networks: dict[str, Any] = {}
        sharding = None if mesh is None else (lambda path, shape: replicated(mesh))
        if clip is not None:
            networks["clip"] = CLIPFeatures.load(clip, sharding=sharding)
        for path in [lpips] if isinstance(lpips, str | Path) else lpips:
            distance = PerceptualDistance.load(path, sharding=sharding)
            networks[f"lpips_{distance.net}"] = distance
        if dino is not None:
            networks["dino"] = StructureDistance.load(dino, sharding=sharding)
        return cls(networks, names, mesh=mesh)

    def only(self, *names: str) -> Evaluator:
        """The same networks for some metrics; "lpips" stands for the one LPIPS that is loaded.

        Raises:
          ValueError: an unknown name, or "lpips" with none or several loaded.
        """
        loaded = [name for name in self._networks if name.startswith("lpips_")]
        if "lpips" in names and len(loaded) != 1:
            raise ValueError(
                f"metric 'lpips' stands for one of {', '.join(loaded) or 'none'} that is loaded; name it, or give "
                "Evaluator.load one folder of LPIPS weights"
            )
        return Evaluator(self._networks, [loaded[0] if name == "lpips" else name for name in names], mesh=self.mesh)

    def __call__(
        self,
        source: UnitImage,
        output: UnitImage,
        *,
        prompt: Sequence[str] | None = None,
        source_prompt: Sequence[str] | None = None,
        source_latents: Latents | None = None,
        output_latents: Latents | None = None,
        mask: Shaped[Array, "b H W"] | None = None,
    ) -> dict[str, Float[Array, " b"]]:
        """Values [B], float32, by the names of the metrics.

        Args:
          source: what went in, or anything else to compare with: [B,H,W,3], float in [0, 1].
          output: what came out, of the same shape.
          prompt, source_prompt: what output and source should show, one text per sample.
          source_latents, output_latents: [B,h,w,c], in the model's scaled space.
          mask: [B,H,W], 1 or True where the outputs were to change, 0 elsewhere.

        Raises:
          ValueError: pictures of other shapes, dtypes or ranges; a metric was named whose inputs or network are
            missing, or for which the pictures are too small.
        """
        source, output = _checked("source", source), _checked("output", output)
        if source.shape != output.shape:
            raise ValueError(f"source has shape {source.shape}, output {output.shape}; resize one to the other")
        given = dict(prompt=prompt, source_prompt=source_prompt)
        given |= dict(source_latents=source_latents, output_latents=output_latents, mask=_checked_mask(mask, source))
        for name, values in given.items():
            if isinstance(values, str) or (values is not None and len(values) != len(source)):
                raise ValueError(f"{name} must have one entry per sample, {len(source)} in all")
        size, images = len(source), dict(source=source, output=output)
        if self.mesh is not None:
            images, given = ({name: self._spread(values) for name, values in each.items()} for each in (images, given))
        obstacles = self.obstacles(**images, **given)
        if self.names is not None and obstacles:
            raise ValueError(next(iter(obstacles.values())))
        comparison = Comparison(**images, networks=self._networks, **given)
        chosen = [name for name in self._wanted if name not in obstacles]
        return {name: METRICS[name].compute(comparison)[:size] for name in chosen}

    @property
    def _wanted(self) -> Sequence[str]:
        return list(METRICS) if self.names is None else self.names

    def obstacles(self, **given: Any) -> dict[str, str]:
        """Why metrics cannot be computed, with the remedies, by the names of these metrics.

        Args:
          given: source, output and whatever else a call would get. Only shapes matter, and what is None.
        """
        comparison = Comparison(networks=self._networks, **given)
        found = {name: METRICS[name].obstacle(comparison) for name in self._wanted}
        return {name: obstacle for name, obstacle in found.items() if obstacle is not None}

    def _spread(self, values: Any) -> Any:
        """An array on the mesh, or texts, filled up alike."""
        if values is None:
            return None
        place = Placement(self.mesh, len(values))
        return place(values) if hasattr(values, "shape") else [*values, *[values[-1]] * place.padding]

    def features(self, images: UnitImage) -> Float[Array, "b p"]:
        """Unit CLIP features, to be gathered over a whole set and passed to ``compare_sets``.

        Raises:
          ValueError: pictures of another shape, dtype or range; the evaluator has no CLIP.
        """
        if "clip" not in self._networks:
            raise ValueError("features need a CLIP: give Evaluator.load its path or hub id")
        images, size = _checked("images", images), len(images)
        return self._networks["clip"].pictures(images if self.mesh is None else self._spread(images))[:size]


def compare_sets(features: Float[Array, "n p"], reference: Float[Array, "m p"]) -> dict[str, float]:
    """KID and CMMD between two sets of unit CLIP features.

    KID's kernel expects a unit mean square, so that here it is ``(1 + cosine)^3``.

    Raises:
      ValueError: fewer than two features, or of different widths.
    """
    features, reference = np.asarray(features, np.float32), np.asarray(reference, np.float32)
    distance = float(cmmd(features, reference))
    scale = math.sqrt(features.shape[1])
    mean, std = kid(scale * features, scale * reference)
    return {"kid": mean, "kid_std": std, "cmmd": distance}


def _checked_mask(mask: Any, source: UnitImage) -> Any:
    if mask is None:
        return None
    if np.shape(mask) != source.shape[:3]:
        raise ValueError(f"mask has shape {np.shape(mask)}; these pictures need {source.shape[:3]} ([B,H,W])")
    return mask.astype(np.float32)


def _checked(name: str, images: Any) -> UnitImage:
    """Pictures as float32, wherever they lie."""
    shape, dtype = np.shape(images), getattr(images, "dtype", None)
    if len(shape) != 4 or shape[-1] != 3 or 0 in shape:
        raise ValueError(f"{name} has shape {shape}; pictures are [B,H,W,3]")
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"{name} is {dtype}; pictures are float in [0, 1] (img2img_jax.images.as_unit makes them)")
    xp = jnp if isinstance(images, jax.Array) else np
    low, high = float(xp.min(images)), float(xp.max(images))
    if not (low >= 0 and high <= 1):  # NaN fails both comparisons
        raise ValueError(f"{name} lies in {low:g} to {high:g}; pictures are in 0 to 1: rescale or clip them")
    return images.astype(xp.float32)

"""All metrics by name. To add one: a file with its function, an entry here, a row in docs/metrics.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from img2img_jax.metrics import ms_ssim, ssim
from img2img_jax.metrics.clip_direction import clip_direction
from img2img_jax.metrics.clip_similarity import clip_similarity
from img2img_jax.metrics.edge_distance import edge_distance
from img2img_jax.metrics.edge_f1 import edge_f1
from img2img_jax.metrics.l1 import l1
from img2img_jax.metrics.lpips import SMALLEST
from img2img_jax.metrics.metric import Metric
from img2img_jax.metrics.mse import mse
from img2img_jax.metrics.psnr import psnr


def _lpips(net: str, backbone: str) -> Metric:
    return Metric(
        name=f"lpips_{net}",
        measures=f"perceptual difference, by {backbone}",
        low=0,
        high=math.inf,
        better="lower",
        network=f"lpips_{net}",
        smallest=SMALLEST,
        reference="Zhang et al. 1801.03924; lpips 0.1",
        compute=lambda c: c.networks[f"lpips_{net}"](c.source, c.output),
    )


def _of_background(name: str, compute: Callable, **differs: Any) -> Metric:
    return Metric(
        name=f"background_{name}",
        measures=f"`{name}` where nothing was to change",
        inputs=("source", "output", "mask"),
        reference="PIE-Bench, Ju et al. 2310.01506",
        compute=lambda c: compute(c, c.source_background, c.output_background),
        **dict(low=0, high=math.inf, better="lower") | differs,
    )


_ALL = (
    Metric(
        name="l1",
        measures="mean absolute difference of pixels",
        low=0,
        high=1,
        better="lower",
        reference="NumPy",
        compute=lambda c: l1(c.source, c.output),
    ),
    Metric(
        name="mse",
        measures="mean squared difference of pixels (L2)",
        low=0,
        high=1,
        better="lower",
        reference="scikit-image mean_squared_error",
        compute=lambda c: mse(c.source, c.output),
    ),
    Metric(
        name="psnr",
        measures="the same in decibels, data range 1",
        low=0,
        high=math.inf,
        better="higher",
        reference="scikit-image peak_signal_noise_ratio",
        compute=lambda c: psnr(c.source, c.output),
    ),
    Metric(
        name="ssim",
        measures="local luminance, contrast and structure",
        low=-1,
        high=1,
        better="higher",
        smallest=ssim.WINDOW,
        reference="Wang et al., IEEE TIP 13(4), 2004; scikit-image structural_similarity",
        compute=lambda c: ssim.ssim(c.source, c.output),
    ),
    Metric(
        name="ms_ssim",
        measures="the same over five scales",
        low=0,
        high=1,
        better="higher",
        smallest=ms_ssim.SMALLEST,
        reference="Wang et al., Asilomar 2003",
        compute=lambda c: ms_ssim.ms_ssim(c.source, c.output),
    ),
    Metric(
        name="latent_mse",
        measures="mean squared difference of scaled latents",
        low=0,
        high=math.inf,
        better="lower",
        inputs=("source_latents", "output_latents"),
        reference="NumPy",
        compute=lambda c: mse(c.source_latents, c.output_latents),
    ),
    Metric(
        name="edge_f1",
        measures="edges kept against edges lost and new",
        low=0,
        high=1,
        better="higher",
        smallest=3,
        reference="Canny, IEEE PAMI 8(6), 1986; Perazzi et al., CVPR 2016; scikit-image canny",
        compute=lambda c: edge_f1(c.source_edges, c.output_edges),
    ),
    Metric(
        name="edge_distance",
        measures="how far edges moved, as a share of the diagonal",
        low=0,
        high=1,
        better="lower",
        smallest=3,
        reference="Barrow et al., IJCAI 1977; SciPy distance_transform_edt",
        compute=lambda c: edge_distance(c.source_edges, c.output_edges),
    ),
    _lpips("alex", "AlexNet"),
    _lpips("vgg", "VGG16"),
    _lpips("squeeze", "SqueezeNet 1.1"),
    Metric(
        name="clip_image",
        measures="likeness of content (CLIP-I)",
        low=-1,
        high=1,
        better="higher",
        network="clip",
        reference="Radford et al. 2103.00020; transformers CLIPModel",
        compute=lambda c: clip_similarity(c.source_features, c.output_features),
    ),
    Metric(
        name="clip_text",
        measures="how well the prompt is met (CLIP-T)",
        low=-1,
        high=1,
        better="higher",
        inputs=("output", "prompt"),
        network="clip",
        reference="Radford et al. 2103.00020; transformers CLIPModel",
        compute=lambda c: clip_similarity(c.output_features, c.prompt_features),
    ),
    Metric(
        name="clip_direction",
        measures="whether the picture changed as its text did",
        low=-1,
        high=1,
        better="higher",
        inputs=("source", "output", "prompt", "source_prompt"),
        network="clip",
        reference="Gal et al. 2108.00946; Brooks et al. 2211.09800",
        compute=lambda c: clip_direction(
            c.source_features, c.output_features, c.source_prompt_features, c.prompt_features
        ),
    ),
    Metric(
        name="structure_distance",
        measures="layout, by the self-similarity of DINO's keys",
        low=0,
        high=4,
        better="lower",
        network="dino",
        reference="Tumanyan et al. 2201.00424; PIE-Bench, Ju et al. 2310.01506; transformers ViTModel",
        compute=lambda c: c.networks["dino"](c.source, c.output),
    ),
    _of_background("mse", lambda c, source, output: mse(source, output), high=1),
    _of_background("psnr", lambda c, source, output: psnr(source, output), better="higher"),
    _of_background(
        "ssim",
        lambda c, source, output: ssim.ssim(source, output),
        low=-1,
        high=1,
        better="higher",
        smallest=ssim.WINDOW,
    ),
    _of_background(
        "lpips_squeeze",
        lambda c, source, output: c.networks["lpips_squeeze"](source, output),
        network="lpips_squeeze",
        smallest=SMALLEST,
    ),
    Metric(
        name="edited_clip_text",
        measures="`clip_text` where something was to change",
        low=-1,
        high=1,
        better="higher",
        inputs=("output", "prompt", "mask"),
        network="clip",
        reference="PIE-Bench, Ju et al. 2310.01506",
        compute=lambda c: clip_similarity(c.edited_features, c.prompt_features),
    ),
)

METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _ALL}
"""Metric per sample, by name, in the order in which tables show them."""

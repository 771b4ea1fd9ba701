"""``model_index.json``: which classes the components of a pipeline folder are."""

from __future__ import annotations

from pathlib import Path

from img2img_jax.checkpoints.json_file import write_json


def write_model_index(folder: Path, *, vae: str, scheduler: str) -> None:
    """Writes the index of a Stable Diffusion folder; ``vae`` and ``scheduler`` are class names of diffusers."""
    write_json(
        folder / "model_index.json",
        {
            "_class_name": "StableDiffusionImg2ImgPipeline",
            "requires_safety_checker": False,
            **{name: [None, None] for name in ("feature_extractor", "image_encoder", "safety_checker")},
            "vae": ["diffusers", vae],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "scheduler": ["diffusers", scheduler],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
        },
    )

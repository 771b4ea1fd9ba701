"""Tiny networks with random weights, for every metric that needs one."""

import jax.numpy as jnp
import numpy as np
import pytest

from img2img_jax.metrics import Evaluator
from img2img_jax.metrics.clip_features import CLIPFeatures
from img2img_jax.metrics.lpips import PerceptualDistance
from img2img_jax.metrics.structure_distance import StructureDistance
from img2img_jax.models import LPIPS, CLIPConfig, CLIPModel, LPIPSConfig, ViTConfig, ViTModel
from img2img_jax.testing.tiny import letter_tokenizer, random_model

TOWER = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)


def random_lpips(net, rng):
    """LPIPS with random weights; those of the linear layers are not negative, as training keeps them."""
    model = random_model(LPIPS, LPIPSConfig(net=net), rng)
    for lin in model.lin:
        lin.kernel[...] = jnp.abs(lin.kernel[...])
    return model


def random_clip(rng):
    text = dict(TOWER, vocab_size=len(letter_tokenizer()), max_position_embeddings=16)
    text["eos_token_id"] = letter_tokenizer().eos_token_id
    vision = dict(TOWER, image_size=32, patch_size=8)
    config = CLIPConfig.from_dict(dict(text_config=text, vision_config=vision, projection_dim=8))
    return random_model(CLIPModel, config, rng)


@pytest.fixture(scope="session")
def networks():
    rng = np.random.default_rng(0)
    vit = random_model(ViTModel, ViTConfig(image_size=32, patch_size=8, **TOWER), rng)
    made = {"clip": CLIPFeatures(random_clip(rng), letter_tokenizer()), "dino": StructureDistance(vit)}
    return made | {f"lpips_{net}": PerceptualDistance(random_lpips(net, rng)) for net in ("alex", "vgg", "squeeze")}


@pytest.fixture(scope="session")
def evaluator(networks):
    return Evaluator(networks)

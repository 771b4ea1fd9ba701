"""Every network against its PyTorch original, on tiny random checkpoints."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from img2img_jax.checkpoints import load_component
from img2img_jax.models import (
    AutoencoderKL,
    AutoencoderTiny,
    CLIPModel,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    UNet2DConditionModel,
)
from img2img_jax.types import AddedConditions

BOUND = 1e-5
"""On float32 results, relative to the largest value; measured errors are below 3e-6."""


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def nchw(x):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def assert_close(ours, reference, bound=BOUND):
    """Compares with a torch result, which is NCHW when it has four axes."""
    reference = reference.detach().float().numpy()
    if reference.ndim == 4:
        reference = np.moveaxis(reference, 1, -1)
    ours = np.asarray(ours, np.float32)
    assert ours.shape == reference.shape
    error = np.abs(ours - reference).max() / np.abs(reference).max()
    print(f"relative error {error:.1e}")
    assert error < bound


def compiled(model, method="__call__"):
    """A method of the model, jitted with the parameters as an argument."""
    graph, state = nnx.split(model)
    run = jax.jit(lambda state, *args: getattr(nnx.merge(graph, state), method)(*args))
    return lambda *args: run(state, *args)


def unet_inputs(height, width):
    """Sample, timesteps (one of them fractional) and text states of a batch of two."""
    return normal(0, 2, height, width, 4), np.float32([999, 17.25]), normal(1, 2, 5, 24)


def torch_unet(model, sample, timestep, text, **kwargs):
    with torch.no_grad():
        return model(nchw(sample), torch.from_numpy(timestep), torch.from_numpy(text), **kwargs).sample


@pytest.mark.parametrize(
    ("name", "height", "width"),
    [("unet_sd1", 8, 12), ("unet_sd1", 7, 10), ("unet_sd1", 5, 7), ("unet_sd2", 8, 12)],
)
def test_unet(checkpoint, name, height, width):
    made = checkpoint(name)
    ours = compiled(load_component(UNet2DConditionModel, made.folder))(*unet_inputs(height, width))
    assert_close(ours, torch_unet(made.torch_model, *unet_inputs(height, width)))


def test_unet_with_guidance_embedding(checkpoint):
    made, condition = checkpoint("unet_lcm"), normal(2, 2, 12)
    inputs = unet_inputs(8, 12)
    ours = compiled(load_component(UNet2DConditionModel, made.folder))(*inputs, condition)
    reference = torch_unet(made.torch_model, *inputs, timestep_cond=torch.from_numpy(condition))
    assert_close(ours, reference)
    unconditioned = torch_unet(made.torch_model, *inputs)
    assert (reference - unconditioned).abs().max() > 0.01 * reference.abs().max()


@pytest.mark.parametrize(("name", "numbers"), [("unet_sdxl", 6), ("unet_sdxl_refiner", 5)])
def test_unet_with_pooled_text_and_sizes(checkpoint, name, numbers):
    made = checkpoint(name)
    model = load_component(UNet2DConditionModel, made.folder)
    sample, timestep, _ = unet_inputs(8, 12)
    text = normal(1, 2, 5, model.config.cross_attention_dim)
    added = AddedConditions(text_embeds=normal(2, 2, 20), time_ids=np.abs(1000 * normal(3, 2, numbers)))
    conditions = {key: torch.from_numpy(values) for key, values in added._asdict().items()}
    reference = torch_unet(made.torch_model, sample, timestep, text, added_cond_kwargs=conditions)
    assert_close(compiled(model)(sample, timestep, text, None, added), reference)
    with pytest.raises(ValueError, match="added is missing"):
        model(sample, timestep, text)


def test_norms_of_weak_signals(checkpoint):
    """Each norm's epsilon, which hides behind signals of unit variance: transformer, residual block, VAE."""
    unet, vae = checkpoint("unet_sd1"), checkpoint("vae")
    x, text, time = 1e-3 * normal(9, 2, 4, 6, 16), normal(1, 2, 5, 24), normal(2, 2, 64)
    ours, reference = load_component(UNet2DConditionModel, unet.folder).down_blocks[0], unet.torch_model.down_blocks[0]
    with torch.no_grad():
        states = reference.attentions[0](nchw(x), torch.from_numpy(text)).sample
        residual = reference.resnets[0](nchw(x), torch.from_numpy(time))
        z = 1e-3 * normal(9, 2, 4, 6, 24)
        middle = vae.torch_model.encoder.mid_block(nchw(z))
    assert_close(compiled(ours.attentions[0])(x, text), states)
    assert_close(compiled(ours.resnets[0])(x, time), residual)
    assert_close(compiled(load_component(AutoencoderKL, vae.folder).encoder.mid_block)(z), middle)


def test_unet_in_bfloat16(checkpoint):
    made = checkpoint("unet_sd1")
    model = load_component(UNet2DConditionModel, made.folder, dtype="bfloat16")
    ours = compiled(model)(*unet_inputs(8, 12))
    assert ours.dtype == jnp.bfloat16
    assert_close(ours, torch_unet(made.torch_model, *unet_inputs(8, 12)), bound=0.05)


@pytest.mark.parametrize(("name", "height", "width", "channels"), [("vae", 20, 12, 4), ("vae_bare", 10, 16, 6)])
def test_autoencoder_kl(checkpoint, name, height, width, channels):
    made = checkpoint(name)
    model = load_component(AutoencoderKL, made.folder)
    image, factor = normal(3, 2, height, width, 3), model.downscale_factor
    latents = normal(4, 2, height // factor, width // factor, channels)
    with torch.no_grad():
        posterior = made.torch_model.encode(nchw(image)).latent_dist
        decoded = made.torch_model.decode(nchw(latents)).sample
    mean, logvar = compiled(model, "encode")(image)
    assert_close(mean, posterior.mean)
    assert_close(logvar, posterior.logvar)
    assert_close(compiled(model, "decode")(latents), decoded)


def test_scaling_of_latents_as_the_pipelines_of_diffusers_do(checkpoint):
    made = checkpoint("vae_bare")
    model, latents = load_component(AutoencoderKL, made.folder), normal(4, 1, 2, 2, 6)
    config = made.torch_model.config
    scaled = (latents - config.shift_factor) * config.scaling_factor
    np.testing.assert_allclose(model.scale(latents), scaled, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(model.unscale(scaled), latents, rtol=1e-6, atol=1e-6)


def test_autoencoder_tiny(checkpoint):
    made = checkpoint("vae_tiny")
    model = load_component(AutoencoderTiny, made.folder)
    image, latents = normal(5, 2, 16, 24, 3), 2 * normal(6, 2, 4, 6, 4)
    with torch.no_grad():
        encoded = made.torch_model.encode(nchw(image)).latents
        decoded = made.torch_model.decode(nchw(latents)).sample
    mean, logvar = compiled(model, "encode")(image)
    assert logvar is None
    assert_close(mean, encoded)
    assert_close(compiled(model, "decode")(latents), decoded)


def token_ids(eos):
    """Prompts with the end in different places, padded by the end token as Stable Diffusion 1.x pads."""
    ids = np.random.default_rng(7).integers(3, 47, (3, 9))
    for row, end in enumerate((3, 5, 8)):
        ids[row, end:] = eos
    return ids


@pytest.mark.parametrize("name", ["text_quick_gelu", "text_gelu", "text_old_eos"])
def test_clip_text_model(checkpoint, name):
    made, ids = checkpoint(name), token_ids(49)
    with torch.no_grad():
        reference = made.torch_model(torch.from_numpy(ids))
    ours = compiled(load_component(CLIPTextModel, made.folder))(ids)
    assert_close(ours.last_hidden_state, reference.last_hidden_state)
    assert_close(ours.pooled, reference.pooler_output)


def test_clip_text_model_with_projection(checkpoint):
    """SDXL's second encoder; of its states the last but one are read."""
    made, ids = checkpoint("text_projected"), token_ids(49)
    with torch.no_grad():
        reference = made.torch_model(torch.from_numpy(ids), output_hidden_states=True)
    ours = compiled(load_component(CLIPTextModelWithProjection, made.folder))(ids)
    assert_close(ours.pooled, reference.text_embeds)
    assert_close(ours.last_hidden_state, reference.last_hidden_state)
    for found, wanted in zip(ours.hidden_states, reference.hidden_states, strict=True):
        assert_close(found, wanted)


def test_old_and_new_end_of_text_ids_differ_where_they_should(checkpoint):
    """With ``eos_token_id`` 2 the largest id ends the prompt, even where a token with id 2 comes first."""
    ids = token_ids(49)
    ids[:, 1] = 2
    made = checkpoint("text_old_eos")
    with torch.no_grad():
        reference = made.torch_model(torch.from_numpy(ids))
    ours = compiled(load_component(CLIPTextModel, made.folder))(ids)
    assert_close(ours.pooled, reference.pooler_output)
    assert_close(ours.pooled, reference.last_hidden_state[range(3), [3, 5, 8]])


def test_clip_model(checkpoint):
    made, ids, image = checkpoint("clip"), token_ids(49), normal(8, 2, 16, 16, 3)
    with torch.no_grad():
        reference = made.torch_model(input_ids=torch.from_numpy(ids), pixel_values=nchw(image))
    model = load_component(CLIPModel, made.folder)
    text, picture = compiled(model, "text_features")(ids), compiled(model, "image_features")(image)
    assert_close(text, reference.text_embeds)
    assert_close(picture, reference.image_embeds)
    scale = jnp.exp(model.logit_scale[...])
    assert_close(scale * picture @ text.T, reference.logits_per_image)

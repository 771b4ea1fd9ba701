"""Adapters: nothing at first, low rank always, and a file that says what was trained."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

from img2img_jax.testing.tiny import tiny_pipeline
from img2img_jax.training.lora import (
    ATTENTION,
    EVERY_LAYER,
    LoraConfig,
    init_adapters,
    module_of,
    save_adapters,
    with_adapters,
)

PARAMS = nnx.state(tiny_pipeline().unet)
KERNELS = {module_of(path): np.asarray(leaf[...]) for path, leaf in nnx.to_flat_state(PARAMS) if module_of(path)}


def trained(config):
    """Adapters as after training: nothing in them is zero."""
    adapters = init_adapters(PARAMS, config, jax.random.key(0))
    return jax.tree.map(lambda x: x + jax.random.normal(jax.random.key(x.size), x.shape), adapters)


def kernels(params):
    return {module_of(path): np.asarray(leaf[...]) for path, leaf in nnx.to_flat_state(params) if module_of(path)}


def test_new_adapters_change_nothing_and_only_name_what_was_asked_for():
    adapters = init_adapters(PARAMS, LoraConfig(rank=2), jax.random.key(0))
    assert adapters and all(".to_" in module for module in adapters)
    jax.tree.map(np.testing.assert_array_equal, with_adapters(PARAMS, adapters, 1.0), PARAMS)


@pytest.mark.parametrize("targets", [ATTENTION, EVERY_LAYER])
def test_updates_are_scaled_products_of_their_rank(targets):
    config = LoraConfig(rank=2, alpha=3.0, target_modules=targets)
    adapters, scale = trained(config), config.scale
    changed = kernels(with_adapters(PARAMS, adapters, scale))
    assert (set(adapters) == set(KERNELS)) == (targets == EVERY_LAYER)
    for module, before in KERNELS.items():
        update = changed[module] - before
        if module not in adapters:
            np.testing.assert_array_equal(update, 0)
            continue
        down, up = adapters[module].values()
        np.testing.assert_allclose(update, 1.5 * np.einsum("...ir,ro->...io", down, up), atol=1e-5)
        assert np.linalg.matrix_rank(update.reshape(-1, update.shape[-1]), tol=1e-4) <= 2


def test_only_the_adapters_get_gradients_and_they_do():
    adapters = init_adapters(PARAMS, LoraConfig(rank=2), jax.random.key(0))
    grads = jax.grad(lambda a: sum(jnp.square(x).sum() for x in jax.tree.leaves(with_adapters(PARAMS, a, 1.0))))(
        adapters
    )
    assert all(jnp.abs(factors["up"]).max() > 0 for factors in grads.values())


@pytest.mark.parametrize("name", ["style.safetensors", "folder"])
def test_file_holds_the_product_that_was_trained(tmp_path, name):
    config = LoraConfig(rank=6, alpha=9.0, target_modules=EVERY_LAYER)
    adapters = trained(config)
    save_adapters(tmp_path / name, adapters, config.scale)
    stored = load_file(next(tmp_path.rglob("*.safetensors")))
    assert len(stored) == 2 * len(adapters)
    assert {len(values) for key, values in stored.items() if "lora_A" in key} == {6}, "of narrow layers too"
    changed = kernels(with_adapters(PARAMS, adapters, config.scale))
    for module, before in KERNELS.items():
        down, up = (stored[f"unet.{module}.lora_{factor}.weight"] for factor in "AB")
        update = np.tensordot(up.reshape(up.shape[:2]), down, 1)  # [out, in, ...]
        np.testing.assert_allclose(np.moveaxis(update, (0, 1), (-1, -2)), changed[module] - before, atol=1e-5)


def test_errors_name_the_value():
    with pytest.raises(ValueError, match="rank 0 is below 1"):
        LoraConfig(rank=0)
    with pytest.raises(ValueError, match="'no_such_layer'"):
        init_adapters(PARAMS, LoraConfig(target_modules="no_such_layer"), jax.random.key(0))

import numpy as np
import pytest
from safetensors.numpy import save_file

from img2img_jax.checkpoints import CheckpointError
from img2img_jax.checkpoints.low_rank import LowRank, merged
from img2img_jax.checkpoints.safetensors_file import stored_tensors

DRAW = np.random.default_rng(0)


@pytest.fixture
def store(tmp_path):
    """Arrays as tensors in a file."""

    def store(**arrays):
        save_file({key: np.asarray(value, np.float32) for key, value in arrays.items()}, tmp_path / "x.safetensors")
        return stored_tensors(tmp_path / "x.safetensors")

    return store


def convolved(x, kernel):
    """[c, H, W] -> [o, H', W'], no padding, as PyTorch correlates."""
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], axis=(1, 2))
    return np.einsum("chwij,ocij->ohw", windows, kernel)


def test_a_linear_update_is_up_after_down(store):
    down, up = DRAW.standard_normal((2, 5)), DRAW.standard_normal((4, 2))
    tensors = store(down=down, up=up, base=np.ones((4, 5)))
    update = LowRank(down=tensors["down"], up=tensors["up"], scale=0.5)
    np.testing.assert_allclose(update.read(), 0.5 * up @ down, rtol=1e-5, atol=1e-6)
    both = merged("x", merged("x", tensors["base"], update), update)
    assert len(both.updates) == 2 and both.shape == (4, 5) and both.file == tensors["base"].file
    np.testing.assert_allclose(both.read(), 1 + up @ down, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("tucker", [False, True])
def test_a_convolutional_update_is_the_convolutions_in_turn(store, tucker):
    x, up = DRAW.standard_normal((3, 6, 7)), DRAW.standard_normal((5, 2, 1, 1))
    factors = {"up": up, "down": DRAW.standard_normal((2, 3, 3, 3))}
    expected = convolved(convolved(x, factors["down"]), up)
    if tucker:
        factors |= {"down": DRAW.standard_normal((2, 3, 1, 1)), "mid": DRAW.standard_normal((2, 2, 3, 3))}
        expected = convolved(convolved(convolved(x, factors["down"]), factors["mid"]), up)
    update = LowRank(**store(**factors), scale=1.0)
    assert update.shape == (5, 3, 3, 3)
    np.testing.assert_allclose(convolved(x, update.read()), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("base", [(4, 5), (4, 5, 1, 1)])
@pytest.mark.parametrize("ones", [(), (1, 1)])
def test_linear_layers_and_1x1_convolutions_stand_for_each_other(store, base, ones):
    down, up = DRAW.standard_normal((2, 5)), DRAW.standard_normal((4, 2))
    tensors = store(down=down.reshape(2, 5, *ones), up=up.reshape(4, 2, *ones), base=np.zeros(base))
    both = merged("x", tensors["base"], LowRank(down=tensors["down"], up=tensors["up"], scale=1.0))
    assert both.read().shape == base
    np.testing.assert_allclose(both.read().reshape(4, 5), up @ down, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("down", "up", "mid"),
    [
        ((2, 5), (4, 3), None),
        ((2,), (4, 2), None),
        ((2, 5), (), None),
        ((2, 5, 3, 3), (4, 2, 3, 3), None),
        ((2, 5, 1, 1), (4, 2, 1, 1), (2, 3, 3, 3)),
        ((2, 5, 3, 3), (4, 2, 1, 1), (2, 2, 3, 3)),
    ],
)
def test_factors_that_do_not_fit_are_an_error(store, down, up, mid):
    shapes = {"down": down, "up": up} | ({} if mid is None else {"mid": mid})
    tensors = store(**{name: np.zeros(shape) for name, shape in shapes.items()})
    with pytest.raises(CheckpointError, match="x.safetensors: factors of shapes .* make no update"):
        _ = LowRank(**tensors, scale=1.0).shape


def test_an_update_of_another_shape_is_an_error(store):
    tensors = store(down=np.zeros((2, 5)), up=np.zeros((4, 2)), base=np.zeros((4, 6)))
    with pytest.raises(CheckpointError, match=r"unet y is \[4, 5\], the weight \[4, 6\]; is the LoRA for another"):
        merged("unet y", tensors["base"], LowRank(down=tensors["down"], up=tensors["up"], scale=1.0))


def test_updates_that_are_not_finite_are_an_error(store):
    tensors = store(down=np.full((1, 2), np.nan), up=np.ones((3, 1)))
    with pytest.raises(CheckpointError, match="x.safetensors: an update is not finite"):
        LowRank(**tensors, scale=1.0).read()

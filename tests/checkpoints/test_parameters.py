import numpy as np
import pytest

from img2img_jax.checkpoints.parameters import from_torch, key_of, to_torch, torch_shape


@pytest.mark.parametrize(
    ("path", "key"),
    [
        (("down_blocks", 0, "resnets", 1, "conv1", "kernel"), "down_blocks.0.resnets.1.conv1.weight"),
        (("norm", "scale"), "norm.weight"),
        (("norm", "bias"), "norm.bias"),
        (("token_embedding", "embedding"), "token_embedding.weight"),
        (("logit_scale",), "logit_scale"),
        (("embeddings", "class_embedding"), "embeddings.class_embedding"),
    ],
)
def test_keys_mirror_paths(path, key):
    assert key_of(path) == key


def test_kernels_change_the_order_of_their_axes_and_nothing_else_does():
    conv = np.arange(3 * 4 * 2 * 5).reshape(3, 4, 2, 5)  # height, width, in, out
    torch = to_torch(("conv", "kernel"), conv)
    assert torch.shape == torch_shape(("conv", "kernel"), conv.shape) == (5, 2, 3, 4)
    assert torch[4, 1, 2, 3] == conv[2, 3, 1, 4]
    np.testing.assert_array_equal(from_torch(("conv", "kernel"), torch), conv)
    linear = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(to_torch(("fc", "kernel"), linear), linear.T)
    np.testing.assert_array_equal(to_torch(("table", "embedding"), linear), linear)
    assert torch_shape(("logit_scale",), ()) == ()

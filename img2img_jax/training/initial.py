"""Initial weights that training starts well from."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from img2img_jax.diffusion.schedule import NoiseSchedule
from img2img_jax.models import UNet2DConditionModel
from img2img_jax.models.clip import CLIPVisionModel

_SHARPNESS, _NOISE, _CONTENT = 5.0, 0.1, 0.3
"""Of what ``heads_as_taps`` starts with: a factor of attention's scores, and the shares of the usual random weights
that are left in queries and keys, and in whatever adds content to positions."""
_RIDGE = 1e-3
"""Of ``retime``: what holds weights near what they were. Ten times less halves the error that is left, and triples the
largest weight."""


def zero_residuals(network: nnx.Module, also: tuple[str, ...] = ()) -> None:
    """Zeroes the last layer of every residual branch, in place, so that the network starts as its skeleton.

    (Goyal et al. 1706.02677, sec. 5.1, do it to the last norm of each branch.)

    Args:
      also: names of further layers to zero, such as ``conv_out`` of a denoiser, whose first guess is then 0.
    """
    for path, module in nnx.iter_graph(network):
        if path and path[-1] in ("conv2", "proj_out", *also):
            module.kernel[...] = jnp.zeros_like(module.kernel[...])


def retime(unet: UNet2DConditionModel, before: NoiseSchedule, after: NoiseSchedule) -> None:
    """Lets a UNet that was trained under one schedule go on under another, in place.

    A prediction of ``epsilon`` or of v depends on the level of noise, which is all that a timestep tells. So the last
    layer of the time embedding is fitted (least squares) to say at every timestep of ``after`` what it said at the
    timestep of ``before`` that has the same level. Nothing else changes. The fit is close but not exact.
    """
    layer, times = unet.time_embedding, np.arange(after.num_train_timesteps)

    def sines(times: np.ndarray) -> jax.Array:
        return unet.frequencies(jnp.asarray(times, jnp.float32), unet.config.block_out_channels[0])

    told = before.timestep(after.noise_to_signal(times))
    missing = np.asarray(layer(sines(told), None) - layer(sines(times), None), np.float64)
    hidden = np.asarray(jax.nn.silu(layer.linear_1(sines(times))), np.float64)
    hidden = np.concatenate([hidden, np.ones((len(times), 1))], axis=1)
    held = _RIDGE * len(times) * np.eye(hidden.shape[1])
    change = np.linalg.solve(hidden.T @ hidden + held, hidden.T @ missing)
    for param, moved in ((layer.linear_2.kernel, change[:-1]), (layer.linear_2.bias, change[-1])):
        _assign(param, np.asarray(param[...]) + moved)


def heads_as_taps(tower: CLIPVisionModel, seed: int = 0) -> None:
    """Lets a vision transformer start as a network of convolutions, in place: each head looks at one near patch.

    Attention can be a convolution whose taps are its heads (Cordonnier et al. 1911.03584), and one that begins so
    learns from thousands of pictures what it would else need millions for (d'Ascoli et al. 2103.10697). Here positions
    start as sines and cosines of many wavelengths, each head reads some of them, and its queries are turned so that
    they match the keys of the patch beside: of all nine in a square of three, itself among them. All are trained on
    from there like any weights. The last layer starts as usual: in it the class token gathers what the others found,
    and a query that sharp would find nothing but itself.

    Raises:
      ValueError: the width of a head is no multiple of 4, a sine and a cosine for each axis.
    """
    config, embeddings = tower.config, tower.embeddings
    side, width, heads = config.image_size // config.patch_size, config.hidden_size, config.num_attention_heads
    if width // heads % 4:
        raise ValueError(f"hidden_size={width} gives heads of width {width // heads}, which must be a multiple of 4")
    # Wavelengths from about 3 patches to the picture's side.
    waves = np.geomspace(2.0, 2 * np.pi / side, width // 4)
    angles = np.mgrid[:side, :side].reshape(2, -1, 1) * waves
    positions = np.concatenate([wave(axis) for axis in angles for wave in (np.sin, np.cos)], axis=1)
    table = np.concatenate([np.zeros((1, width)), positions])
    _assign(embeddings.position_embedding.embedding, table)
    embeddings.patch_embedding.kernel[...] *= _CONTENT
    rng, square = np.random.default_rng(seed), np.mgrid[-1:2, -1:2].reshape(2, -1).T
    for layer in list(tower.encoder.layers)[:-1]:
        taps = np.concatenate([rng.permutation(square) for _ in range(-(-heads // len(square)))])[:heads]
        queries, keys = layer.self_attn.q_proj.kernel, layer.self_attn.k_proj.kernel
        _assign(queries, _SHARPNESS * (_turned(waves, taps) + _NOISE * np.asarray(queries[...])))
        _assign(keys, _turned(waves, np.zeros_like(taps)) + _NOISE * np.asarray(keys[...]))
        for last in (layer.self_attn.out_proj, layer.mlp.fc2):
            last.kernel[...] *= _CONTENT


def _assign(param: nnx.Param, value: np.ndarray) -> None:
    param[...] = jnp.asarray(value, param.dtype)


def _turned(waves: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """A projection [d, d] of sines and cosines of positions to heads: each reads some waves, moved by its tap.

    Args:
      waves: radians a patch, [d / 4]; head ``h`` of ``n`` reads the waves h, h + n, h + 2n, ...
      taps: rows and columns that each head is moved by, [n, 2].
    """
    count, heads = len(waves), len(taps)
    kernel = np.zeros((4 * count, heads, 2, 2, count // heads))
    for head, tap in enumerate(taps):
        read = np.arange(head, count, heads)
        own = np.arange(len(read))
        for axis in range(2):
            sines, cosines = 2 * axis * count + read, (2 * axis + 1) * count + read
            sine, cosine = np.sin(waves[read] * tap[axis]), np.cos(waves[read] * tap[axis])
            # sin(a + b) and cos(a + b), of what is read of a.
            kernel[sines, head, axis, 0, own], kernel[cosines, head, axis, 0, own] = cosine, sine
            kernel[sines, head, axis, 1, own], kernel[cosines, head, axis, 1, own] = -sine, cosine
    return kernel.reshape(4 * count, 4 * count)

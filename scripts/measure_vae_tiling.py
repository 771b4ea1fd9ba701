"""Measures VAE tiling: memory in the shape of Stable Diffusion's VAE, error on the embedded one.

python scripts/measure_vae_tiling.py --size=1024 --tile_sizes=512,768
"""

from absl import app, flags

_SIZE = flags.DEFINE_integer("size", 1024, "Side in pixels of the picture that memory is measured for.")
_TILE_SIZES = flags.DEFINE_list("tile_sizes", ["512"], "Tiles to measure, in pixels.")


def main(argv):
    del argv
    # After the flags: --help must not wait for JAX.
    import jax
    import jax.numpy as jnp
    import numpy as np
    from flax import nnx

    from img2img_jax.checkpoints import EMBEDDED_MODEL, load_component
    from img2img_jax.images import prepare, to_model
    from img2img_jax.models import AutoencoderKL, AutoencoderKLConfig, vae_tiling
    from img2img_jax.programs import decode, encode

    def memory(program, *arguments, tile_size):
        compiled = program.lower(*arguments, tile_size=tile_size).compile()
        return round(compiled.memory_analysis().temp_size_in_bytes / 2**20)

    config = AutoencoderKLConfig(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
    )
    graphdef, state = nnx.split(nnx.eval_shape(lambda: AutoencoderKL(config, rngs=nnx.Rngs(0))))
    shape, side = (1, _SIZE.value, _SIZE.value, 3), _SIZE.value // 8
    images, latents = (jax.ShapeDtypeStruct(s, jnp.float32) for s in (shape, (1, side, side, 4)))
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
    for tile_size in (None, *map(int, _TILE_SIZES.value)):
        figures = [
            memory(encode, graphdef, state, images, keys, None, tile_size=tile_size),
            memory(decode, graphdef, state, latents, tile_size=tile_size),
        ]
        print(f"{_SIZE.value} px, tiles {tile_size}: encode {figures[0]} MiB, decode {figures[1]} MiB, float32")

    vae = load_component(AutoencoderKL, EMBEDDED_MODEL / "vae")
    picture = prepare(EMBEDDED_MODEL.with_name("demo") / "picture.png", height=384, width=512, resize="pad")
    pixels = to_model(picture)[None]
    whole, _ = jax.jit(vae.encode)(pixels)
    wanted = jax.jit(vae.decode)(whole)
    for rounds in (2, 4):
        vae_tiling.ROUNDS = rounds
        mean, _ = jax.jit(lambda x: vae_tiling.tiled_encode(vae, x, 160))(pixels)
        found = jax.jit(lambda z: vae_tiling.tiled_decode(vae, z, 160))(whole)
        encoded = np.linalg.norm(mean - whole) / np.linalg.norm(whole)
        levels = 127.5 * np.abs(found - wanted)
        print(
            f"embedded VAE, 512x384 px, tiles 160, {rounds} rounds: latents {encoded:.1e} relative, "
            f"pixels {levels.mean():.2f} of 255 on average, {levels.max():.2f} at most"
        )


if __name__ == "__main__":
    app.run(main)

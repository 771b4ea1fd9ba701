"""Which sampler and mode, at equal numbers of network evaluations? README.md has the commands."""

from analysis import analyse

from img2img_jax.lab.main import main

if __name__ == "__main__":
    main(analyse)

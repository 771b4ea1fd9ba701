"""How much of the change is the seed's, and how much the strength's? README.md has the commands."""

from analysis import analyse

from img2img_jax.lab.main import main

if __name__ == "__main__":
    main(analyse)

"""How do fidelity and prompt alignment go with strength? README.md has the commands."""

from analysis import analyse

from img2img_jax.lab.main import main

if __name__ == "__main__":
    main(analyse)

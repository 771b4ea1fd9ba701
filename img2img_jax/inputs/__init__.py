"""The inputs of a run: pictures, and what is said about them."""

from img2img_jax.inputs.find_inputs import MANIFEST, SUFFIXES, find_inputs
from img2img_jax.inputs.input import Input
from img2img_jax.inputs.mask import read_mask

__all__ = ["MANIFEST", "SUFFIXES", "Input", "find_inputs", "read_mask"]

"""The options of the command; what its flags do is tested through the command."""

import dataclasses
import inspect

from img2img_jax import Img2ImgPipeline
from img2img_jax.options import Options, loading_arguments


def test_from_pretrained_takes_what_is_loaded():
    """The stand-in of the command's tests would take anything."""
    options = Options(**{field.name: "a" for field in dataclasses.fields(Options)})
    names = loading_arguments(options).keys() - {"model"}
    assert len(names) == 9 and names <= inspect.signature(Img2ImgPipeline.from_pretrained).parameters.keys()

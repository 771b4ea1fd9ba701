"""Cells say what they hold."""

from img2img_jax.lab.tables import markdown
from img2img_jax.metrics import Interval


def test_markdown():
    text = markdown(["a", "b"], [[0.12345, None], ["x", Interval(mean=0.5, low=0.25, high=0.75)]])
    assert text == "| a | b |\n| --- | --- |\n| 0.123 | – |\n| x | 0.5 (0.25 to 0.75) |\n"

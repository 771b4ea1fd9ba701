"""Writes the folder that LPIPS is loaded from, out of the original package.

  pip install lpips
  python scripts/export_lpips.py --net=alex --output=lpips_alex

The package brings the linear layers along and lets torchvision download the backbone.
"""

from pathlib import Path
from typing import Any

from absl import app, flags
from safetensors.numpy import save_file

from img2img_jax.checkpoints import write_json

NET = flags.DEFINE_enum("net", "alex", ["alex", "vgg", "squeeze"], "The backbone.")
OUTPUT = flags.DEFINE_string("output", None, "Folder to write; by default lpips_ and the backbone's name.")


def export(model: Any, folder: Path) -> None:
    """Writes config.json and model.safetensors of an ``lpips.LPIPS``."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: values.numpy() for key, values in model.state_dict().items()}, folder / "model.safetensors")
    write_json(folder / "config.json", {"_class_name": "LPIPS", "net": model.pnet_type})


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    import lpips  # not among this package's requirements

    export(lpips.LPIPS(net=NET.value), Path(OUTPUT.value or f"lpips_{NET.value}"))


if __name__ == "__main__":
    app.run(main)

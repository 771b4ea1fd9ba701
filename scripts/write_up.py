"""Puts the figures and tables of finished experiments into their READMEs.

  make figures      runs every experiment on the embedded model, then this

Takes runs/NAME for experiments/NAME; those without a finished run there are left as they are.
"""

import shutil
from pathlib import Path

from absl import app, flags

from img2img_jax.checkpoints import read_json
from img2img_jax.lab import Results

_RUNS = flags.DEFINE_string("runs", "runs", "Folder with a work directory for each experiment, named after it.")
BEGIN, END = "<!-- results -->\n", "<!-- end of results -->\n"
ROOT = Path(__file__).parents[1]


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    for readme in sorted((ROOT / "experiments").glob("*/README.md")):
        workdir = Path(_RUNS.value) / readme.parent.name
        if BEGIN in readme.read_text(encoding="utf-8") and (workdir / "table.md").is_file():
            write_up(workdir, readme)
            print(readme.relative_to(ROOT))


def write_up(workdir: Path, readme: Path) -> None:
    """Copies figure.png beside the README, and fills the place between its marks."""
    shutil.copyfile(workdir / "figure.png", readme.with_name("figure.png"))
    before, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    table = (workdir / "table.md").read_text(encoding="utf-8")
    after = rest.split(END)[1]
    filled = f"![What the rows say; the table below has numbers](figure.png)\n\n{_of(Results.read(workdir))}\n\n{table}"
    readme.write_text(f"{before}{BEGIN}\n{filled}\n{END}{after}", encoding="utf-8")


def _of(results: Results) -> str:
    size = read_json(results.folder / "config.json")["config"]["size"]
    knobs = {"images": "image_sha256", "strengths": "strength", "seeds": "seed"}
    counts = ", ".join(f"{name}: {len(results.distinct(knob))}" for name, knob in knobs.items())
    return f"Made with `:{size}` ({counts}; {len(results.rows)} outputs). Intervals are 95 %, over images and seeds."


if __name__ == "__main__":
    app.run(main)

"""Where the pictures of a run go: their file names, and the contact sheet beside them."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

from img2img_jax.inputs import Input
from img2img_jax.reports.contact_sheet import contact_sheet, shrink
from img2img_jax.sweep import Result

THUMBNAIL = 256  # pixels, longer side
ROWS_PER_SHEET = 32  # a folder of thousands must not become one picture of gigabytes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outputs:
    """File names of a run; see `plan_outputs`.

    Attributes:
      file: the one picture's file, or None when there are several.
      folder: for several pictures, each named after its input, strength and seed.
      sheet: contact sheet of several pictures; further sheets are numbered.
    """

    file: Path | None
    folder: Path
    sheet: Path | None
    names: dict[Path, str]

    def path(self, image: Path, strength: float, seed: int) -> Path:
        return self.file or self.folder / f"{self.names[image]}_strength{number(strength)}_seed{seed}.png"


def plan_outputs(output: Path, inputs: Sequence[Input], strengths: Sequence[float], seeds: Sequence[int]) -> Outputs:
    """Decides on the file names before anything is computed.

    One picture goes to the file `output` if that ends in .png, else into the folder `output`. Several go into the
    folder `output`, with `contact_sheet.png`; if `output` ends in .png it is the contact sheet, and the folder
    has its name without the ending.

    Raises:
      ValueError: another picture format was asked for, or an input would be overwritten or the outputs mixed
        with the inputs.
    """
    is_png = output.suffix.lower() == ".png" and not output.is_dir()
    if not is_png and output.suffix.lower() in Image.registered_extensions():
        raise ValueError(f"--output {output}: pictures are written as PNG, which keeps their parameters; use .png")
    folder = output.with_suffix("") if is_png else output
    names = _names([item.path for item in inputs])
    if len(inputs) * len(strengths) * len(seeds) == 1:
        file = output if is_png else None
        outputs = Outputs(file=file, folder=output.parent if is_png else output, sheet=None, names=names)
    else:
        sheet = output if is_png else output / "contact_sheet.png"
        outputs = Outputs(file=None, folder=folder, sheet=sheet, names=names)
    written = {outputs.path(i.path, s, seed).resolve() for i in inputs for s in strengths for seed in seeds}
    written |= {outputs.sheet.resolve()} if outputs.sheet else set()
    for item in inputs:
        if item.path.resolve() in written:
            raise ValueError(f"--output {output} would overwrite the input {item.path}; choose another name")
        if outputs.file is None and outputs.folder.resolve() == item.path.parent.resolve() and len(inputs) > 1:
            raise ValueError(f"--output {output} is the folder of the inputs; choose another, so as not to mix them")
    return outputs


def number(value: float) -> str:
    """The shortest text that reads back as the same number: 1 for 1.0, but 0.10000001 in full."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """Stems where they tell the pictures apart, else whole names, else numbered ones."""
    by_stem = collections.Counter(path.stem for path in paths)
    by_name = collections.Counter(path.name for path in paths)
    return {
        path: path.stem if by_stem[path.stem] == 1 else path.name if by_name[path.name] == 1 else f"{n}_{path.name}"
        for n, path in enumerate(paths)
    }


class Sheet:
    """Gathers results and writes them as contact sheets: a row per picture and seed, a column per strength.

    With `one_column` each row has a strength of its own, which its label says.
    """

    def __init__(self, images: Sequence[Path], strengths: Sequence[float], title: str, *, one_column: bool = False):
        self.images, self.strengths, self.title, self.rows = list(images), sorted(strengths), title, {}
        self.one_column = one_column

    def add(self, result: Result) -> None:
        sample = result.sample
        row = self.rows.setdefault((sample.image, sample.seed), {"prompt": sample.prompt})
        row["input"] = shrink(Image.fromarray(sample.pixels), THUMBNAIL)
        row["own" if self.one_column else sample.strength] = shrink(result.picture, THUMBNAIL)
        row["strength"] = f"strength {number(sample.strength)}"

    def write(self, path: Path) -> list[Path]:
        """Writes `path`, or for many rows several files numbered after it; returns their paths.

        Each file appears whole or not at all.
        """
        from img2img_jax.checkpoints.atomic import replacing  # its package brings JAX, which --help does without

        # Results arrive in the order of size and strength; people expect that of the inputs.
        keys = sorted(self.rows, key=lambda key: (self.images.index(key[0]), key[1]))
        pages = [keys[i : i + ROWS_PER_SHEET] for i in range(0, len(keys), ROWS_PER_SHEET)]
        paths = [path] + [path.with_stem(f"{path.stem}_{number}") for number in range(2, len(pages) + 1)]
        for target, page in zip(paths, pages, strict=False):
            with replacing(target) as file:
                self._page(page).save(file, "PNG")
        return paths[: len(pages)]

    def _page(self, keys: Iterable[tuple[Path, int]]) -> Image.Image:
        keys = list(keys)
        columns = ["input", "own"] if self.one_column else ["input", *self.strengths]
        labels = ["output"] if self.one_column else [f"strength {number(strength)}" for strength in self.strengths]
        return contact_sheet(
            [[self.rows[key].get(column) for column in columns] for key in keys],
            row_labels=[self._row_label(key) for key in keys],
            column_labels=["input", *labels],
            title=self.title,
        )

    def _row_label(self, key: tuple[Path, int]) -> str:
        own = f"\n{self.rows[key]['strength']}" if self.one_column else ""
        return f"{_shorten(self.rows[key]['prompt'])}\n{key[0].name}\nseed {key[1]}{own}"


def _shorten(prompt: str, length: int = 200) -> str:
    prompt = " ".join(prompt.split())
    return prompt if len(prompt) <= length else prompt[: length - 3] + "..."

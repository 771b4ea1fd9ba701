"""Imports go the way that the table in ARCHITECTURE.md says."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "img2img_jax"
FORBIDDEN = {"torch", "torchvision", "diffusers", "experiments", "scripts", "configs", "tests"}


def table() -> dict[str, set[str]]:
    """Room -> rooms it may import, from the table of the chapter on import directions."""
    chapter = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").split("## Import directions")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", chapter, re.MULTILINE)
    return {room: set(re.findall(r"`(\w+)`", allowed)) for room, allowed in rows}


def room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(source: str, module: str) -> set[str]:
    """Full names of what a module imports, at its top or inside functions; `module` is its own full name."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*parents, *filter(None, [node.module])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def imports_of(file: Path) -> set[str]:
    # A package's __init__ counts as a module in it, so that one dot means the package.
    return imported(file.read_text(encoding="utf-8"), ".".join(file.relative_to(ROOT).with_suffix("").parts))


def rooms_in(names: set[str], public: dict[str, str]) -> set[str]:
    """Rooms behind full names; what the package itself exports stands for the room it lives in."""
    parts = [name.split(".") for name in names if name.split(".")[0] == "img2img_jax"]
    return {public.get(inner[1], inner[1]) for inner in parts if len(inner) > 1}


def public_homes() -> dict[str, str]:
    from img2img_jax import _HOMES

    return {name: home.split(".")[0] for name, home in _HOMES.items()}


MODULES = sorted(file for file in PACKAGE.rglob("*.py") if file != PACKAGE / "__init__.py")


@pytest.mark.parametrize(
    ("source", "module", "expected"),
    [
        ("import torch.nn as nn", "a.b", {"torch.nn"}),
        ("def f():\n    from img2img_jax import rng", "a.b", {"img2img_jax.rng"}),
        ("from .. import rng", "img2img_jax.diffusion.sample", {"img2img_jax.rng"}),
        ("from .base import X", "img2img_jax.diffusion.solvers.ddim", {"img2img_jax.diffusion.solvers.base.X"}),
        ("from .ddim import D", "img2img_jax.diffusion.solvers.__init__", {"img2img_jax.diffusion.solvers.ddim.D"}),
        ("from img2img_jax.models import unet", "a", {"img2img_jax.models.unet"}),
    ],
)
def test_imports_are_found(source, module, expected):
    assert imported(source, module) == expected


def test_public_names_stand_for_their_rooms():
    names = {"img2img_jax.Img2ImgPipeline", "img2img_jax.models.layers.conv", "numpy.array"}
    assert rooms_in(names, public_homes()) == {"pipeline", "models"}


def test_the_table_names_every_room_once():
    assert set(table()) == {room(file) for file in MODULES}


@pytest.mark.parametrize("name", sorted(table()))
def test_rooms_import_what_the_table_allows(name):
    allowed, homes = table()[name] | {name}, public_homes()
    wrong = {
        str(file.relative_to(ROOT)): extra
        for file in MODULES
        if room(file) == name and (extra := rooms_in(imports_of(file), homes) - allowed)
    }
    assert not wrong


def test_the_table_allows_no_more_than_is_needed():
    homes = public_homes()
    for name, allowed in table().items():
        used = set().union(*(rooms_in(imports_of(file), homes) for file in MODULES if room(file) == name))
        assert allowed <= used, f"{name} no longer imports {allowed - used}"


def test_the_table_has_no_circles():
    left = table()
    while left:
        free = [name for name, allowed in left.items() if not allowed & set(left)]
        assert free, f"these import each other: {sorted(left)}"
        for name in free:
            del left[name]


def test_the_package_never_imports_torch_or_the_folders_around_it():
    wrong = {
        str(file.relative_to(ROOT)): bad
        for file in [PACKAGE / "__init__.py", *MODULES]
        if (bad := {name.split(".")[0] for name in imports_of(file)} & FORBIDDEN)
    }
    assert not wrong


@pytest.mark.parametrize(("folder", "other"), [("experiments", "scripts"), ("scripts", "experiments")])
def test_experiments_and_scripts_never_import_each_other(folder, other):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    foreign = {other, *(file.stem for file in (ROOT / other).rglob("*.py"))} - sys.stdlib_module_names
    own = {file.stem for file in files}
    for file in files:
        names = {name.split(".")[0] for name in imports_of(file)}
        assert not names & (foreign - own), file


def test_experiments_import_nothing_of_each_other():
    for experiment in (path for path in (ROOT / "experiments").iterdir() if path.is_dir()):
        others = {
            file.stem
            for path in (ROOT / "experiments").iterdir()
            if path.is_dir() and path != experiment
            for file in path.rglob("*.py")
        }
        own = {file.stem for file in experiment.rglob("*.py")}
        for file in experiment.rglob("*.py"):
            assert not {name.split(".")[0] for name in imports_of(file)} & (others - own), file

"""The documents tell the truth: their Python runs and prints what they say, their commands and links exist."""

import contextlib
import dataclasses
import inspect
import io
import re
import runpy
import shlex
from pathlib import Path

import pytest
from PIL import Image

from img2img_jax import Img2ImgPipeline, ResolvedStart, cli
from img2img_jax.checkpoints import EMBEDDED_MODEL
from img2img_jax.diffusion.solvers import SCHEDULERS
from img2img_jax.options import define_flags
from img2img_jax.testing.tiny import tiny_pipeline, tiny_sdxl_pipeline

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("experiments/**/*.md")])
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
ELSEWHERE = {"pip", "git", "pre-commit"}  # commands that are not ours to check


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def promised(block: str) -> list[str]:
    """What the comments of a block say it prints, line by line."""
    return re.findall(r"# prints (.*)$", block, re.MULTILINE)


def run_blocks(text: str) -> None:
    """Runs the Python of a document in order, in one namespace, and compares what it prints."""
    namespace = {"__name__": "document"}
    for block in blocks(text, "python"):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(block, "document", "exec"), namespace)
        assert printed.getvalue().splitlines() == promised(block)


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


@pytest.fixture
def small_world(pipe, tmp_path, monkeypatch):
    """A folder with small copies of the pictures that the documents name, where every checkpoint is the tiny one.

    Of its family, that is: the name of an SDXL checkpoint says what it is. Folders that a document itself has saved
    are really loaded.
    """
    real = Img2ImgPipeline.from_pretrained

    def from_pretrained(*arguments, **options):
        given = inspect.signature(real).bind(*arguments, **options).arguments
        path = Path(given.get("path_or_hub_id", EMBEDDED_MODEL))
        if path != EMBEDDED_MODEL and path.is_dir():
            return real(*arguments, **options)
        return tiny_sdxl_pipeline(refiner="refiner" in path.name) if "xl" in path.name else pipe

    monkeypatch.setattr(Img2ImgPipeline, "from_pretrained", from_pretrained)
    monkeypatch.chdir(tmp_path)
    for name in set(re.findall(r'"(img2img_jax/[\w/]+\.png)"', "".join(map(text_of, NAMES)))):
        small = Image.open(ROOT / name).convert("RGB").resize((16, 16))
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        small.save(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("name", [name for name in NAMES if blocks(text_of(name), "python")])
def test_python_in_documents_runs(name, small_world):
    run_blocks(text_of(name))


def test_the_first_example_is_as_short_as_it_says():
    text = text_of("README.md")
    assert "## Twelve lines of Python" in text
    assert len(blocks(text, "python")[0].splitlines()) == 12


@pytest.mark.parametrize("block", ["print(1)", "print(1)  # prints 2", "1 / 0", "from img2img_jax import Nothing"])
def test_untrue_python_is_found(block):
    with pytest.raises((AssertionError, ArithmeticError, ImportError, AttributeError)):
        run_blocks(f"```python\n{block}\n```\n")


def check_command(line: str) -> None:
    """Raises AssertionError, or absl's error, for a command that would not start."""
    words = shlex.split(line, comments=True)
    if not words or words[0] in ELSEWHERE:
        return
    if words[0] == "make":
        for target in words[1:]:
            assert re.search(rf"^{target}:", text_of("Makefile"), re.MULTILINE), f"no target {target}"
    elif words[0] == "img2img":
        values = define_flags()
        assert values(words)[1:] == []
        assert values.scheduler is None or values.scheduler in SCHEDULERS
    elif words[0] == "python":
        check_script(words[1], words[2:])
    else:
        raise AssertionError(f"{words[0]} is no command of this project")


def check_script(script: str, arguments: list[str]) -> None:
    assert (ROOT / script).is_file(), f"{script} is missing"
    text = text_of(script)
    if "img2img_jax.lab.main" in text:
        text = text_of("img2img_jax/lab/main.py")
    defined = set(re.findall(r'DEFINE_\w+\(\s*"(\w+)"', text))
    for argument in arguments:
        flag, _, value = argument.removeprefix("--").partition("=")
        assert flag in defined or flag.startswith("config."), f"{script} has no flag --{flag}"
        if flag == "config":
            path, _, choice = value.partition(":")
            assert len(runpy.run_path(str(ROOT / path))["get_config"](choice))


@pytest.mark.parametrize("name", NAMES)
def test_commands_exist(name):
    for block in blocks(text_of(name), "sh"):
        for line in block.splitlines():
            check_command(line)


@pytest.mark.parametrize(
    "line",
    [
        "make nothing",
        "img2img --nothing=1",
        "img2img --strength_mode=nothing",
        "img2img --scheduler=nothing",
        "img2img stray",
        "python scripts/nothing.py",
        "python scripts/demo.py --nothing=1",
        "python experiments/train_emoji/run.py --config=configs/nothing.py",
        "nothing",
    ],
)
def test_untrue_commands_are_found(line):
    with pytest.raises((AssertionError, FileNotFoundError, cli.flags.Error)):
        check_command(line)


def test_flags_in_the_prose_exist():
    flags = set(re.findall(r"`--(\w+)", text_of("README.md")))
    assert {"resize", "from_png"} <= flags
    assert flags <= set(define_flags())


def test_every_sampler_is_listed_and_no_other():
    chapter = text_of("README.md").split("## Samplers")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", chapter, re.MULTILINE)
    listed = [name for cell in cells for name in re.findall(r"`(\w+)`", cell) if name != "eta"]
    assert sorted(listed) == sorted(SCHEDULERS)


def test_every_field_of_a_start_is_explained_and_no_other():
    chapter = text_of("docs/strength.md").split("## What is recorded")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", chapter, re.MULTILINE)
    explained = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert explained == [field.name for field in dataclasses.fields(ResolvedStart)]


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    here = (ROOT / name).parent
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", text_of(name)):
        path, _, heading = target.partition("#")
        file = (here / path).resolve() if path else ROOT / name
        # The figures are drawn with the embedded model and arrive with it, as its card does.
        if EMBEDDED_MODEL.is_dir() or file.parent not in (ROOT / "docs" / "figures", EMBEDDED_MODEL):
            assert file.exists(), target
        if heading:
            assert heading in anchors(file.read_text(encoding="utf-8")), target


def anchors(text: str) -> set[str]:
    """What GitHub makes of a document's headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

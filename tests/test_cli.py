"""The command end to end, with a small stand-in for the pipeline."""

import dataclasses
import importlib
import inspect
import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from img2img_jax import cli
from img2img_jax.finder.calibration import Calibration
from img2img_jax.finder.target import Target
from img2img_jax.metadata import read_parameters


@dataclasses.dataclass(frozen=True)
class Start:
    strength: float
    log_snr: float


class FakePipeline:
    """Pixels depend on everything a real pipeline's depend on, the place in the compiled batch included."""

    vae_scale_factor = 8
    native_size = 16

    def __init__(self, folder):
        self.folder, self.calls, self.loads = folder, [], []

    def load(self, **arguments):
        self.loads.append(arguments)
        return self

    def __call__(self, prompt, image, *, strength, seed, **settings):
        self.calls.append(settings | {"prompt": prompt, "image": image, "strength": strength, "seed": seed})
        if settings["num_inference_steps"] < 1:
            raise ValueError("num_inference_steps=0\nmust be 1 or more")
        shared = repr(sorted(settings.items()))
        rows = zip(prompt, image, strength, seed, strict=True)
        pictures = [
            self._picture(pixels, s, f"{p!r} {s} {n} {shared} {len(prompt)} {place}")
            for place, (p, pixels, s, n) in enumerate(rows)
        ]
        starts = [Start(s, float("inf") if s == 0 else -s) for s in strength]
        return types.SimpleNamespace(images=pictures, strength=starts)

    @staticmethod
    def _picture(pixels, strength, key):
        noise = np.random.default_rng(list(key.encode("utf-8", "surrogatepass"))).integers(0, 256, pixels.shape)
        return Image.fromarray(np.uint8((1 - strength) * pixels + strength * noise))


@pytest.fixture
def pipe(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.safetensors").write_bytes(b"weights")
    return FakePipeline(tmp_path / "model")


@pytest.fixture
def run(tmp_path, monkeypatch, pipe):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: cli.main(["img2img", *map(str, arguments)], load_pipeline=pipe.load)


def _picture(path, size=(16, 16), seed=0):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)).save(path)
    return path


@pytest.fixture
def picture(tmp_path):
    return _picture(tmp_path / "in.png")


def _pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def _error(capsys):
    """The one line of a failure."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("img2img: error: ")]
    assert len(lines) == 1
    return lines[0].removeprefix("img2img: error: ")


def test_one_picture(run, pipe, picture, tmp_path, capsys):
    assert run("--image", picture, "--prompt", "apple", "--strength", 0.6, "--output", "out.png") == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == "out.png" and "1/1" in captured.err  # the progress bar ran to its end
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "model", "out.png"]
    recorded = read_parameters("out.png")
    assert (recorded.prompt, recorded.strength, recorded.seed) == ("apple", 0.6, 0)
    assert recorded.start == {"strength": 0.6, "log_snr": -0.6}
    assert recorded.image == str(picture) and recorded.model is None and "platform" in recorded.versions
    assert pipe.loads == [{"model": None, "dtype": "float32", "revision": None, "variant": None}]


def test_strength_zero_is_recorded_with_its_infinite_log_snr(run, picture):
    assert run("--image", picture, "--prompt", "apple", "--strength", 0, "--output", "out.png") == 0
    assert np.array_equal(_pixels("out.png"), _pixels(picture))
    assert read_parameters("out.png").start["log_snr"] == float("inf")


FLAGS = {
    "prompt": ("a", "b"),
    "negative_prompt": ("n", "m"),
    "strength": (0.3, 0.4),
    "seed": (1, 2),
    "steps": (3, 4),
    "guidance_scale": (2.5, 3.5),
    "scheduler": ("ddim", "euler"),
    "strength_mode": ("exact", "continuous"),
    "noise_at_one": ("pure", "leak"),
    "eta": (0.0, 0.5),
    "guidance_rescale": (0.2, 0.7),
    "prompt_syntax": ("plain", "a1111"),
    "clip_skip": (0, 1),
    "vae_tile_size": (256, 512),
    "model": ("hub/one", "hub/two"),
    "revision": ("main", "dev"),
    "variant": ("fp16", "fp32"),
    "dtype": ("float32", "bfloat16"),
    "family": ("sd1", "sd2"),
    "tokenizer": ("hub/words", "hub/letters"),
    "prediction_type": ("epsilon", "v_prediction"),
    "vae": ("hub/vae", "hub/other_vae"),
    "resize": ("crop", "stretch"),
    "height": (8, 24),
    "width": (16, 24),
    "background": ("white", "black"),
}


def _as_flags(choice):
    return [f"--{name}={values[choice]}" for name, values in FLAGS.items()]


def _seen(pipe):
    """All that reached the pipeline, as comparable values."""
    call = {name: value.tolist() if name == "image" else value for name, value in pipe.calls[-1].items()}
    return {**call, **pipe.loads[-1]}


@pytest.mark.parametrize("name", FLAGS)
def test_every_flag_reaches_its_destination(run, pipe, tmp_path, name):
    """Changing one flag changes what arrives (no knob is accepted and ignored), and only what it should."""
    image = Image.effect_noise((40, 16), 90).convert("RGBA")
    image.putalpha(Image.effect_noise((40, 16), 90))
    image.save(tmp_path / "in.png")
    assert run("--image", "in.png", *_as_flags(0), "--output", "1.png") == 0
    before = _seen(pipe)
    flag = f"--{name}={FLAGS[name][1]}"
    assert run("--image", "in.png", *_as_flags(0), flag, "--output", "2.png") == 0
    changed = {key for key, value in _seen(pipe).items() if value != before[key]}
    sizes = dict.fromkeys(("resize", "height", "width", "background"), "image")
    assert changed == {{"steps": "num_inference_steps", **sizes}.get(name, name)}
    assert read_parameters("1.png") != read_parameters("2.png")


@pytest.mark.parametrize("name", FLAGS)
def test_from_png_repeats_and_other_flags_override(run, pipe, picture, name, capsys):
    assert run("--image", picture, *_as_flags(0), "--output", "1.png") == 0
    first = _seen(pipe)
    assert run("--from_png", "1.png", "--output", "2.png") == 0
    assert _seen(pipe) == first and np.array_equal(_pixels("1.png"), _pixels("2.png"))
    assert "the same pixels as in 1.png" in capsys.readouterr().err
    assert run("--from_png", "1.png", f"--{name}={FLAGS[name][1]}", "--output", "3.png") == 0
    recorded = dataclasses.asdict(read_parameters("3.png"))
    assert recorded[{"steps": "num_inference_steps"}.get(name, name)] == FLAGS[name][1]
    err = capsys.readouterr().err
    assert "same pixels" not in err and "warning" not in err


def test_a_hub_snapshot_is_recorded_by_its_commit(run, pipe, picture, tmp_path):
    pipe.folder = pipe.folder.rename(tmp_path / "snapshots").joinpath("0123abc")
    pipe.folder.mkdir()
    assert run("--image", picture, "--prompt", "a", "--model", "hub/x", "--revision", "main", "--output", "1.png") == 0
    assert read_parameters("1.png").revision == "0123abc"
    assert run("--from_png", "1.png") == 0
    assert pipe.loads[-1]["revision"] == "0123abc"


def test_a_hub_snapshot_that_was_given_as_a_folder_is_repeated_as_one(run, pipe, picture, tmp_path):
    pipe.folder = pipe.folder.rename(tmp_path / "snapshots").joinpath("0123abc")
    pipe.folder.mkdir()
    assert run("--image", picture, "--prompt", "a", "--model", "snapshots/0123abc", "--output", "1.png") == 0
    assert run("--from_png", "1.png") == 0
    assert (pipe.loads[-1]["model"], pipe.loads[-1]["revision"]) == (str(pipe.folder), None)


def test_sweep_batches_names_and_sheet(run, pipe, tmp_path, capsys):
    for number, size in enumerate([(16, 16), (16, 16), (24, 16)]):
        _picture(tmp_path / "pics" / f"{number}.png", size, number)
    arguments = ("--image", "pics", "--prompt", "a", "--strength", "0.2,0.5,0.2", "--seed", "3,4")
    assert run(*arguments, "--output", "out", "--batch_size", 5) == 0
    names = {f"{n}_strength{s}_seed{seed}.png" for n in range(3) for s in (0.2, 0.5) for seed in (3, 4)}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names | {"contact_sheet.png"}
    assert [call["image"].shape[:3] for call in pipe.calls] == [(4, 16, 16), (4, 16, 16), (4, 16, 24)]
    out = capsys.readouterr().out.split()
    assert {Path(line).name for line in out[:-1]} == names and out[-1] == os.path.join("out", "contact_sheet.png")
    assert _pixels("out/contact_sheet.png").shape[0] > 6 * 16  # a row per picture and seed


def test_every_picture_of_a_sweep_can_be_repeated_alone(run, tmp_path):
    """Fillers stand in for the rest of the batch, so that the compiled program is the same."""
    for number in range(3):
        _picture(tmp_path / "pics" / f"{number}.png", seed=number)
    prompts = ["@one", "two\nlines", "thrée 🍎"]
    rows = [json.dumps({"file_name": f"{n}.png", "prompt": p}) for n, p in enumerate(prompts)]
    (tmp_path / "pics" / "metadata.jsonl").write_text("\n".join(rows))
    assert run("--image", "pics", "--strength", "0.2,0.9", "--output", "out", "--batch_size", 4) == 0
    made = sorted((tmp_path / "out").glob("[0-9]*.png"))
    assert [read_parameters(path).prompt for path in made[::2]] == prompts
    assert {read_parameters(path).batch_index for path in made} == {0, 1, 2}
    for path in made:
        assert run("--from_png", path, "--output", "again.png") == 0
        assert np.array_equal(_pixels(path), _pixels("again.png"))


@pytest.mark.parametrize("prompt", ["@file", "a\nb", "", "-x", "--help", "a, b = c", "größer 🍎", "bad \udcff byte"])
def test_awkward_prompts_survive_the_command_line_and_the_file(run, pipe, picture, prompt):
    assert run("--image", picture, "--prompt", prompt, "--strength", 0.5, "--output", "1.png") == 0
    assert pipe.calls[-1]["prompt"] == [prompt]
    assert run("--from_png", "1.png") == 0
    assert pipe.calls[-1]["prompt"] == [prompt]
    assert np.array_equal(_pixels("1.png"), _pixels("1_repeat.png"))


def test_moved_and_changed_input(run, picture, tmp_path, capsys):
    assert run("--image", picture, "--prompt", "a", "--output", "1.png") == 0
    picture.rename(tmp_path / "moved.png")
    capsys.readouterr()
    assert run("--from_png", "1.png") == 1
    assert f"{picture}: the picture 1.png was made from is no longer there" in (error := _error(capsys))
    assert error.endswith("--image")
    assert run("--from_png", "1.png", "--image", "moved.png", "--output", "2.png") == 0
    assert "same pixels" in (err := capsys.readouterr().err) and "warning" not in err
    assert np.array_equal(_pixels("1.png"), _pixels("2.png"))
    _picture(tmp_path / "moved.png", seed=9)
    assert run("--from_png", "1.png", "--image", "moved.png", "--output", "3.png") == 0
    assert "moved.png is not, or no longer, the picture 1.png was made from" in capsys.readouterr().err


def test_repeat_warns_of_other_weights_and_software(run, pipe, picture, capsys, monkeypatch):
    assert run("--image", picture, "--prompt", "a", "--output", "1.png") == 0
    (pipe.folder / "weights.safetensors").write_bytes(b"trained on")
    monkeypatch.setattr(cli.metadata, "package_versions", lambda: {"jax": "99.0"})
    assert run("--from_png", "1.png") == 0
    err = capsys.readouterr().err
    assert "the weights of the embedded model changed since 1.png" in err
    assert "-> 99.0" in err and "numpy" in err


def test_repeat_warns_of_other_pixels(run, pipe, picture, capsys, monkeypatch):
    assert run("--image", picture, "--prompt", "a", "--strength", 0.5, "--output", "1.png") == 0
    monkeypatch.setattr(pipe, "_picture", lambda pixels, strength, key: Image.fromarray(pixels))
    assert run("--from_png", "1.png") == 0
    assert "pixels differ from 1.png, by up to" in capsys.readouterr().err


def test_a_bad_picture_in_a_folder_does_not_stop_the_rest(run, tmp_path, capsys):
    _picture(tmp_path / "pics" / "good.png")
    (tmp_path / "pics" / "bad.png").write_bytes(b"")
    (tmp_path / "pics" / "worse.jpg").write_bytes(b"no picture")
    assert run("--image", "pics", "--prompt", "a", "--output", "out") == 1
    err = capsys.readouterr().err
    assert "bad.png: the file is empty" in err and "worse.jpg: not a readable picture" in err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"good_strength0.8_seed0.png", "contact_sheet.png"}


def test_a_folder_of_nothing_but_bad_pictures(run, pipe, tmp_path, capsys):
    (tmp_path / "pics").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "pics" / name).write_bytes(b"")
    assert run("--image", "pics", "--prompt", "a", "--output", "out") == 1
    assert capsys.readouterr().err.count("is empty") == 2 and not pipe.calls


def test_pictures_missing_from_the_manifest_need_a_prompt(run, tmp_path, capsys):
    for name in ("a", "b"):
        _picture(tmp_path / "pics" / f"{name}.png")
    (tmp_path / "pics" / "metadata.jsonl").write_text('{"file_name": "a.png", "prompt": "x"}')
    assert run("--image", "pics", "--output", "out") == 1
    assert "b.png: no prompt in metadata.jsonl" in _error(capsys)
    assert run("--image", "pics", "--output", "out", "--prompt", "y") == 0


WRONG_FLAGS = [
    (["--imag", "x"], 2, "imag"),
    ([], 2, "--image is missing"),
    (["--image", "in.png"], 2, "--prompt is missing"),
    (["--image", "in.png", "--prompt", "a", "--strength", "0.2", "0.5"], 2, "unexpected argument '0.5'"),
    (["--image", "in.png", "--prompt", "a", "--strength", "0.2,x"], 2, "--strength '0.2,x' is no list of numbers"),
    (["--image", "in.png", "--prompt", "a", "--seed", "0.5"], 2, "--seed '0.5' is no list of numbers"),
    (["--image", "in.png", "--prompt", "a", "--strength", "0.2,0.5,1.2"], 2, "--strength 1.2 at index 2 is not in"),
    (["--image", "in.png", "--prompt", "a", "--strength", "nan"], 2, "--strength nan at index 0 is not in"),
    (["--image", "in.png", "--prompt", "a", "--strength", "auto:sim=0.7"], 2, "--strength metric 'sim' is not known"),
    (["--image", "in.png", "--prompt", "a", "--strength", "auto:lpips=0.3"], 2, "--strength metric 'lpips' stands for"),
    (["--image", "in.png", "--prompt", "a", "--seed", "0,-1"], 2, "--seed -1 at position 1 must be"),
    (["--image", "in.png", "--prompt", "a", "--seed", str(2**32)], 2, "--seed 4294967296 at position 0 must be"),
    (["--image", "in.png", "--prompt", "a", "--scheduler", "dimd"], 2, "--scheduler 'dimd' is not known; choose"),
    (["--image", "in.png", "--prompt", "a", "--eta", "2"], 2, "eta"),
    (["--image", "in.png", "--prompt", "a", "--guidance_rescale", "-0.1"], 2, "guidance_rescale"),
    (["--image", "in.png", "--prompt", "a", "--steps", "many"], 2, "steps"),
    (["--image", "in.png", "--prompt", "a", "--resize", "squash"], 2, "crop|pad|stretch"),
    (["--image", "in.png", "--prompt", "a", "--batch_size", "0"], 2, "--batch_size 0"),
    (["--image", "gone.png", "--prompt", "a"], 1, "gone.png: no such file"),
    (["--image", "empty.png", "--prompt", "a"], 1, "empty.png: the file is empty"),
    (["--image", "in.png", "--prompt", "a", "--background", "whitish"], 1, "'whitish' is no colour"),
    (["--image", "in.png", "--prompt", "a", "--output", "out.jpg"], 1, "written as PNG"),
    (["--image", "in.png", "--prompt", "a", "--output", "in.png"], 1, "overwrite the input"),
    (["--from_png", "gone.png"], 1, "gone.png: no such file"),
    (["--from_png", "in.png"], 1, "in.png: carries no img2img parameters"),
]


@pytest.mark.parametrize("arguments, code, message", WRONG_FLAGS)
def test_mistakes_are_told_in_one_line_before_the_model_loads(run, pipe, picture, capsys, arguments, code, message):
    Path("empty.png").touch()
    assert run(*arguments) == code
    assert message in _error(capsys)
    assert not pipe.loads


LATE_ERRORS = [("--steps=0", "num_inference_steps=0 must be"), ("--height=12", "height 12")]


@pytest.mark.parametrize("flag, message", LATE_ERRORS)
def test_errors_of_the_pipeline_and_sizes_are_one_line_too(run, picture, capsys, flag, message):
    assert run("--image", picture, "--prompt", "a", flag, "--output", "o.png") == 1
    assert message in _error(capsys)
    assert not Path("o.png").exists()


def test_traceback_on_request(run, picture, capsys):
    assert run("--image", picture, "--prompt", "a", "--steps", 0, "--traceback") == 1
    assert "Traceback" in capsys.readouterr().err


def test_from_png_does_not_overwrite_it(run, picture, capsys):
    assert run("--image", picture, "--prompt", "a", "--output", "1.png") == 0
    capsys.readouterr()
    assert run("--from_png", "1.png", "--output", "1.png") == 1
    assert "would overwrite --from_png" in _error(capsys)


def test_finished_pictures_survive_an_interruption(run, pipe, picture, monkeypatch, capsys):
    def interrupted(self, prompt, image, **settings):
        if settings["seed"] == [1]:
            raise KeyboardInterrupt
        return call(self, prompt, image, **settings)

    call = FakePipeline.__call__
    monkeypatch.setattr(FakePipeline, "__call__", interrupted)
    assert run("--image", picture, "--prompt", "a", "--seed", "0,1", "--batch_size", 1, "--output", "o") == 130
    assert [path.name for path in Path("o").iterdir()] == ["in_strength0.8_seed0.png"]
    assert "interrupted" in _error(capsys)


def test_out_of_memory_names_the_remedy_and_bugs_are_not_hidden(run, pipe, picture, monkeypatch, capsys):
    def raises(message):
        def call(self, *arguments, **settings):
            raise RuntimeError(message)

        monkeypatch.setattr(FakePipeline, "__call__", call)

    raises("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes.")
    assert run("--image", picture, "--prompt", "a", "--output", "o.png") == 1
    assert "smaller --batch_size" in _error(capsys)
    raises("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        run("--image", picture, "--prompt", "a", "--output", "o.png")


def test_large_pictures_are_warned_about(run, tmp_path, capsys):
    _picture(tmp_path / "big.png", (64, 40))
    assert run("--image", "big.png", "--prompt", "a", "--output", "o.png") == 0
    assert "big.png is worked on at 64x40, the model was trained at 16x16" in (err := capsys.readouterr().err)
    assert "--height 16" in err
    assert run("--image", "big.png", "--prompt", "a", "--output", "o.png", "--height", 16) == 0
    assert "warning" not in capsys.readouterr().err


def test_help_is_quick_and_jax_stays_out_of_it():
    code = "import sys; from img2img_jax import cli; cli.main(['img2img', '--help']); assert 'jax' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in [*FLAGS, "image", "output", "from_png", "batch_size"]:
        assert f"--{name}:" in done.stdout


def test_importing_the_command_claims_no_global_flags():
    code = "import img2img_jax.cli; from absl import flags; assert 'strength' not in flags.FLAGS"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_output_can_be_a_copy_of_the_file_elsewhere(run, picture, tmp_path):
    """Parameters travel with the file."""
    assert run("--image", picture, "--prompt", "a", "--output", "1.png") == 0
    (tmp_path / "elsewhere").mkdir()
    shutil.move("1.png", "elsewhere/renamed.png")
    assert run("--from_png", "elsewhere/renamed.png") == 0
    assert np.array_equal(_pixels("elsewhere/renamed.png"), _pixels("elsewhere/renamed_repeat.png"))


PACKAGE = Path(cli.__file__).parent


def test_embedded_model_sweeps_and_repeats(tmp_path, monkeypatch):
    """The real thing: a picture of a sweep, its repetition, and the same request made alone."""
    monkeypatch.chdir(tmp_path)
    drawing = PACKAGE / "assets" / "demo" / "drawing.png"
    common = ["--image", str(drawing), "--prompt", "red apple, 3d style", "--steps", "4", "--seed", "5"]
    assert cli.main(["img2img", *common, "--strength", "0,0.5,1", "--output", "sweep"]) == 0
    assert np.array_equal(_pixels("sweep/drawing_strength0_seed5.png"), _pixels(drawing))
    made = "sweep/drawing_strength0.5_seed5.png"
    assert read_parameters(made).start["steps"] == 2
    assert cli.main(["img2img", "--from_png", made, "--output", "again.png"]) == 0
    assert np.array_equal(_pixels(made), _pixels("again.png"))
    assert cli.main(["img2img", *common, "--strength", "0.5", "--output", "alone.png"]) == 0
    difference = np.abs(_pixels(made).astype(int) - _pixels("alone.png"))
    assert difference.mean() < 0.1  # the same noise; another batch size may round a pixel otherwise
    assert not np.array_equal(_pixels(made), _pixels("sweep/drawing_strength1_seed5.png"))


def test_loras_are_loaded_recorded_and_repeated(run, pipe, tmp_path):
    _picture(tmp_path / "in.png")
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())
    loras = ("--lora=a.safetensors:0.8", "--lora=b.safetensors")
    assert run("--image", "in.png", "--prompt", "p", "--output", "out.png", *loras) == 0
    a, b = (str(tmp_path / f"{name}.safetensors") for name in ("a", "b"))
    assert pipe.loads[-1]["loras"] == [(a, 0.8), (b, 1.0)]
    assert read_parameters("out.png").loras == (f"{a}:0.8", f"{b}:1.0")
    assert run("--from_png", "out.png") == 0
    assert pipe.loads[-1]["loras"] == [(a, 0.8), (b, 1.0)]
    assert run("--from_png", "out.png", "--model", "model") == 0
    assert "loras" not in pipe.loads[-1]


def test_embeddings_are_loaded_recorded_and_repeated(run, pipe, tmp_path):
    """With a token of their own or without."""
    _picture(tmp_path / "in.png")
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())
    given = ("--textual_inversion=a.safetensors:<toy>", "--textual_inversion=b.safetensors")
    assert run("--image", "in.png", "--prompt", "p", "--output", "out.png", *given) == 0
    a, b = (str(tmp_path / f"{name}.safetensors") for name in ("a", "b"))
    assert pipe.loads[-1]["textual_inversions"] == [(a, "<toy>"), b]
    assert read_parameters("out.png").textual_inversions == (f"{a}:<toy>", b)
    assert run("--from_png", "out.png") == 0
    assert pipe.loads[-1]["textual_inversions"] == [(a, "<toy>"), b]
    assert run("--from_png", "out.png", "--textual_inversion=", "--output", "none.png") == 0
    assert "textual_inversions" not in pipe.loads[-1]


def test_another_model_does_not_inherit_what_was_said_of_the_first(run, pipe, picture):
    assert run("--image", picture, *_as_flags(0), "--output", "1.png") == 0
    assert run("--from_png", "1.png", "--model", "hub/two", "--output", "2.png") == 0
    assert pipe.loads[-1] == {"model": "hub/two", "dtype": "float32", "revision": None, "variant": None}


def test_files_beside_the_checkpoint_are_recorded_by_absolute_path_and_digest(run, picture, tmp_path, capsys):
    for name in ("vae", "words", "toy"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"1")
    given = ("--vae=vae.safetensors", "--tokenizer=words.safetensors", "--textual_inversion=toy.safetensors:<toy>")
    assert run("--image", picture, "--prompt", "p", "--output", "1.png", *given) == 0
    assert read_parameters("1.png").vae == str(tmp_path / "vae.safetensors")
    assert read_parameters("1.png").tokenizer == str(tmp_path / "words.safetensors")
    for name in ("vae", "words", "toy"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"2")
        capsys.readouterr()
        assert run("--from_png", "1.png") == 0
        assert "the weights of" in capsys.readouterr().err
        (tmp_path / f"{name}.safetensors").write_bytes(b"1")
    assert run("--from_png", "1.png", "--vae=", "--output", "2.png") == 0
    assert "warning" not in capsys.readouterr().err and read_parameters("2.png").vae is None


def test_a_changed_lora_is_said(run, tmp_path, capsys):
    _picture(tmp_path / "in.png")
    (tmp_path / "a.safetensors").write_bytes(b"a")
    assert run("--image", "in.png", "--prompt", "p", "--output", "out.png", "--lora=a.safetensors") == 0
    (tmp_path / "a.safetensors").write_bytes(b"other")
    assert run("--from_png", "out.png") == 0
    assert "the weights of" in capsys.readouterr().err


@pytest.fixture
def found(monkeypatch):
    """Calls of the strength finder, in place of which a stand-in answers: 0.3 and a little, or not at all."""
    module = importlib.import_module("img2img_jax.finder.find_strength")
    real, calls = inspect.signature(module.find_strength), []

    def find_strength(*arguments, **keywords):
        calls.append(real.bind(*arguments, **keywords).arguments)
        [(metric, value)] = keywords["target"].items()
        return [
            types.SimpleNamespace(
                reached=value in ("knee", 0.7),
                problem=f"{metric}={value} is out of reach",
                target=Target.of(keywords["target"]),
                value=0.71,
                strength=round(0.3 + 0.0123 * seed, 4),
                evaluations=6,
            )
            for seed in keywords["seed"]
        ]

    monkeypatch.setattr(module, "find_strength", find_strength)
    return calls


def test_a_found_strength_is_recorded_and_repeated(run, pipe, picture, found, capsys):
    arguments = ("--image", picture, "--prompt", "apple", "--seed", 1, "--guidance_scale", 3, "--output", "out.png")
    assert run(*arguments, "--strength", "auto:ssim=0.7") == 0
    assert "ssim 0.71 at strength 0.3123 (6 strengths tried)" in capsys.readouterr().err
    recorded = read_parameters("out.png")
    assert (recorded.strength, recorded.strength_mode, recorded.seed) == (0.3123, "continuous", 1)
    assert (found[0]["target"], found[0]["prompt"], found[0]["guidance_scale"]) == ({"ssim": 0.7}, ["apple"], 3)
    assert run("--from_png", "out.png", "--output", "again.png") == 0
    np.testing.assert_array_equal(_pixels("again.png"), _pixels("out.png"))


def test_every_picture_of_a_folder_gets_its_own_strength(run, tmp_path, found):
    for name in ("a", "b"):
        _picture(tmp_path / "in" / f"{name}.png")
    options = ("--image", "in", "--prompt", "apple", "--seed", "0,2", "--output", "out", "--batch_size", 4)
    assert run(*options, "--strength", "auto:clip_text=knee") == 0
    names = [f"{name}_strength{text}.png" for name in "ab" for text in ("0.3246_seed2", "0.3_seed0")]
    assert sorted(path.name for path in Path("out").iterdir()) == sorted([*names, "contact_sheet.png"])
    assert [call["image"].shape for call in found] == [(2, 16, 16, 3)] * 2  # times two strengths: a batch of four


def test_a_target_out_of_reach_is_a_failure(run, picture, found, capsys):
    assert run("--image", picture, "--prompt", "apple", "--strength", "auto:ssim=2") == 1
    assert "seed 0: ssim=2.0 is out of reach" in _error(capsys)
    assert not Path("output.png").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [(("--strength=auto:ssim",), "auto:METRIC=VALUE"), (("--strength=auto:ssim=1", "--strength_mode=exact"), "exact")],
)
def test_unusable_targets(run, picture, capsys, flags, message):
    assert run("--image", picture, "--prompt", "apple", *flags) == 2
    assert message in _error(capsys)


@pytest.fixture
def calibration(tmp_path):
    """Change is the square of strength; fitted with guidance 3."""
    fitted = Calibration(
        metric="ssim",
        round_trip=0.9,
        text_to_image=0.2,
        strengths=(0, 0.5, 0.6, 1),
        changes=(0, 0.25, 0.36, 1),
        deviation=0.0,
        count=2,
        made_with={"guidance_scale": 3.0, "scheduler": None},
    )
    fitted.save(tmp_path / "ssim.json")
    return "ssim.json"


def test_a_change_is_read_by_its_calibration_and_recorded_as_a_strength(run, picture, calibration, capsys):
    arguments = ("--image", picture, "--prompt", "apple", "--guidance_scale", 3, "--output", "out")
    assert run(*arguments, "--strength", "change:0.25,0.36", "--calibration", calibration) == 0
    assert [read_parameters(path).strength for path in sorted(Path("out").glob("in*.png"))] == [0.5, 0.6]
    assert "fitted otherwise" not in capsys.readouterr().err


def test_a_calibration_of_other_settings_is_warned_of(run, picture, calibration, capsys):
    arguments = ("--image", picture, "--prompt", "apple", "--strength", "change:0.25", "--scheduler", "euler")
    assert run(*arguments, "--calibration", calibration) == 0
    error = capsys.readouterr().err
    assert "scheduler was None, is euler" in error and "guidance_scale was 3.0, is 7.5" in error


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (("--strength=change:0.4",), 2, "needs a calibration"),
        (("--strength=0.4", "--calibration=ssim.json"), 2, "is what one is for"),
        (("--strength=change:much", "--calibration=ssim.json"), 2, "no list of numbers"),
        (("--strength=change:1.4", "--calibration=ssim.json"), 1, "change 1.4 is not in 0 to 1"),
        (("--strength=change:0.4", "--calibration=none.json"), 1, "no such calibration"),
    ],
)
def test_unusable_changes(run, picture, calibration, capsys, flags, code, message):
    assert run("--image", picture, "--prompt", "apple", *flags) == code
    assert message in _error(capsys)

"""The peer in another environment: what is refused before anything loads, and talking to a script line by line."""

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from img2img_jax.benchmarks.works import GUIDANCE, PROMPT, STEPS, STRENGTHS, Inputs

SCRIPTS = Path(__file__).parents[2] / "scripts"
SWEEP = ("--suite=embedded", "--works=sweep", "--peers=flax")


_SPEC = importlib.util.spec_from_file_location("benchmark_child", SCRIPTS / "benchmark_child.py")
_SPEC.loader.exec_module(benchmark_child := importlib.util.module_from_spec(_SPEC))


def refusal(*flags):
    done = subprocess.run([sys.executable, SCRIPTS / "benchmark.py", *flags], capture_output=True, text=True)
    assert done.returncode != 0
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "flags, named",
    [
        (SWEEP, "--flax_python"),
        (("--peers=flax", "--flax_python=python"), "--works=sweep"),
        (("--suite=embedded", "--works=sweep", "--peers=torch,flax", "--flax_python=python"), "alone"),
        (("--peers=tensorflow",), "tensorflow"),
        ((*SWEEP, "--flax_python=nowhere/python"), "nowhere/python"),
    ],
)
def test_refusals_name_the_flag(flags, named):
    assert named in refusal(*flags)


@pytest.fixture
def fake(tmp_path):
    """Makes a child, of this Python, that answers as ``benchmark_flax`` does, by the methods of a class."""

    def start(methods):
        lines = ["import sys", f"sys.path.insert(0, {str(SCRIPTS)!r})", "import benchmark_flax"]
        lines += ["class Fake:", *(f"    {line}" for line in methods.splitlines())]
        lines += ["benchmark_flax.FlaxSweep = Fake", "benchmark_flax.main()"]
        (script := tmp_path / "fake.py").write_text("\n".join(lines))
        return benchmark_child.Child(sys.executable, script)

    return start


def test_flags_of_this_xla_are_kept_from_another(fake, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_experimental_ynn_fusion_type=")
    with fake("def flags(self):\n  import os\n  return os.environ.get('XLA_FLAGS')") as child:
        assert child.ask("flags") is None


def test_answers_come_back_and_prints_do_not_disturb_them(fake):
    with fake("def double(self, x):\n  print('noise')\n  return 2 * x") as child:
        assert [child.ask("double", x=x) for x in (1, "ab")] == [2, "abab"]
    assert child.process.returncode == 0


def test_an_error_is_named_and_the_child_goes_on(fake):
    with fake("def invert(self, x):\n  return 1 / x") as child:
        with pytest.raises(benchmark_child.PeerError, match="invert .*ZeroDivisionError.*performance.md"):
            child.ask("invert", x=0)
        assert child.ask("invert", x=2) == 0.5


def test_a_child_that_ends_is_an_error(fake):
    with fake("def end(self):\n  import os\n  os._exit(7)") as child:
        for _ in range(2):
            with pytest.raises(benchmark_child.PeerError, match="exit code 7"):
                child.ask("end")


def test_the_clock_counts_the_seconds_of_both(fake):
    ours = time.process_time()
    with fake("def cpu_seconds(self):\n  return 1000") as child:
        assert 0 < ours <= child.cpu_seconds() - 1000 <= time.process_time()


def test_the_sweep_is_given_what_our_side_takes(fake, tmp_path):
    rng = np.random.default_rng(0)
    pictures, latents, noise = rng.random((2, 8, 8, 3)), rng.random((4, 2, 2, 5)), rng.random((4, 2, 2, 5))
    given = Inputs(pictures=pictures, latents=latents, noise=noise, text=None)
    with fake(ECHO) as child:
        found = benchmark_child.FlaxWorks(child, tmp_path, given).sweep()()
    assert found.shape == (len(STRENGTHS), 2, 2, 2, 5)
    added = latents[:2] + noise[:2] + pictures.sum() + STEPS + GUIDANCE + len(PROMPT)
    np.testing.assert_allclose(found, np.stack([strength * added for strength in STRENGTHS]))


ECHO = """
def load(self, folder, prompt, steps, guidance):
  import numpy as np
  pictures, posterior, noise = (np.load(f"{folder}/{name}.npy") for name in ("pictures", "posterior_noise", "noise"))
  self.added = posterior + noise + pictures.sum() + steps + guidance + len(prompt)
def sweep(self, strengths, result):
  import numpy as np
  np.save(result, np.stack([strength * self.added for strength in strengths]))
"""


def test_an_environment_without_the_flax_pipelines_is_refused():
    with benchmark_child.Child(sys.executable) as child:
        with pytest.raises(benchmark_child.PeerError, match="versions .*Error.*performance.md"):
            child.ask("versions")

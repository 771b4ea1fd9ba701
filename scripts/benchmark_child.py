"""A peer in a process and an environment of its own, for packages that this environment cannot have.

Part of scripts/benchmark.py. The other end is scripts/benchmark_flax.py.
"""

import json
import os
import subprocess
import time
from pathlib import Path

import numpy as np

SCRIPT = Path(__file__).with_name("benchmark_flax.py")
REMEDY = "docs/performance.md says how to make its environment"


class PeerError(Exception):
    """The peer's process could not be started, failed at a request, or ended."""


class Child:
    """A running script that is asked for things line by line; a context, at whose end it ends.

    Raises:
      PeerError: ``python`` cannot be run.
    """

    def __init__(self, python, script=SCRIPT):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        try:
            # -I: PYTHONPATH names packages for this Python, not for that one. An XLA of another time ends over a flag
            # that it does not know, and this package has set some.
            environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
            self.process = subprocess.Popen([python, "-I", script], text=True, env=environment, **pipes)
        except OSError as error:
            raise PeerError(f"--flax_python={python} cannot be run: {error.strerror}; {REMEDY}") from error

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.communicate()  # closes its stdin, which ends it once it is done

    def ask(self, do, **arguments):
        """What the script's method ``do`` returns.

        Raises:
          PeerError: the method failed, or the process ended.
        """
        try:
            print(json.dumps({"do": do, **arguments}), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        answer = json.loads(line) if line else {"error": f"the process ended with exit code {self.process.wait()}"}
        if "error" in answer:
            raise PeerError(f"{do} by --flax_python={self.process.args[0]} failed: {answer['error']}; {REMEDY}")
        return answer["done"]

    def cpu_seconds(self):
        """Of all cores, here and in the child: a clock for works of both."""
        return time.process_time() + self.ask("cpu_seconds")


class FlaxWorks:
    """As `Works`, but only the sweep, on a checkpoint that `benchmark_torch.make_leading` wrote to ``folder``."""

    def __init__(self, child, folder, inputs):
        from img2img_jax.benchmarks.works import GUIDANCE, PROMPT, STEPS

        self.child, self.folder, count = child, Path(folder), len(inputs.pictures)
        given = {"pictures": inputs.pictures, "posterior_noise": inputs.latents[:count], "noise": inputs.noise[:count]}
        for name, array in given.items():
            np.save(self.folder / f"{name}.npy", array)
        child.ask("load", folder=str(folder), prompt=PROMPT, steps=STEPS, guidance=GUIDANCE)

    def sweep(self):
        from img2img_jax.benchmarks.works import STRENGTHS

        result = self.folder / "result.npy"

        def call():
            self.child.ask("sweep", strengths=STRENGTHS, result=str(result))
            return np.load(result)

        return call

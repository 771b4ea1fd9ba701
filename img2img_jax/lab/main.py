"""The command of every experiment.

python experiments/NAME/run.py --config=configs/NAME.py[:tiny] --workdir=DIR
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from img2img_jax.lab.experiment import Analyse, Experiment, present
from img2img_jax.lab.results import Results


def main(analyse: Analyse) -> None:
    """Defines the flags, runs the experiment they ask for, and hands its results to ``analyse``."""
    config = config_flags.DEFINE_config_file(
        "config", None, "File in configs/, and its argument: configs/NAME.py:tiny."
    )
    workdir = flags.DEFINE_string("workdir", None, "Where everything goes; a run that was killed goes on there.")
    data = flags.DEFINE_string(
        "data", None, "Inputs in place of the configuration's: folder, .jsonl, .csv, or PIE-Bench's mapping_file.json."
    )
    model = flags.DEFINE_string("model", None, "Folder, .safetensors file or hub id, in place of the configuration's.")
    verify = flags.DEFINE_boolean("verify", False, "Make a batch of a finished run again, and compare.")
    only_analysis = flags.DEFINE_boolean("only_analysis", False, "Tables and figures of a finished run, nothing else.")
    flags.mark_flags_as_required(["config", "workdir"])

    def start(argv: list[str]) -> int:
        if len(argv) > 1:
            raise app.UsageError(f"unexpected argument {argv[1]!r}; every value needs its flag")
        logging.set_verbosity(logging.INFO)
        if only_analysis.value:
            print(present(Results.read(workdir.value), analyse))
            return 0
        chosen = config.value
        with chosen.unlocked():
            if data.value:
                chosen.inputs = {"data": data.value}
                chosen.strokes = {}
            if model.value:
                chosen.model.path = model.value
        try:
            experiment = Experiment(chosen, workdir.value)
            return _verify(experiment) if verify.value else _run(experiment, analyse)
        except ValueError as error:
            logging.error("%s", error)
            return 1

    app.run(start)


def _run(experiment: Experiment, analyse: Analyse) -> int:
    """0; 1 if something failed, be it one input of many, which is named."""
    results = experiment.run()
    print(present(results, analyse))
    for failure in results.failures:
        print(f"failed: {failure['image']}: {failure['error']}", file=sys.stderr)
    made, folder = len(results.rows), Path(experiment.workdir).resolve()
    print(f"{made} pictures and {len(results.failures)} failures in {folder}; verify them with --verify")
    return 1 if results.failures else 0


def _verify(experiment: Experiment) -> int:
    found = experiment.verify()
    print(*found.problems, f"{found.checked} pictures made again, {len(found.problems)} problems", sep="\n")
    return 1 if found.problems else 0

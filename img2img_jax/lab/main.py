"""The command of every experiment.

python experiments/NAME/run.py --config=configs/NAME.py:tiny --workdir=DIR               (starts, or goes on)
python experiments/NAME/run.py --config=configs/NAME.py:tiny --workdir=DIR --verify      (makes a batch again)
python experiments/NAME/run.py --workdir=DIR --only_analysis                            (tables and figures anew)
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from img2img_jax.hosts import AUTO, ONE, Host
from img2img_jax.lab.experiment import Analyse, Experiment, present
from img2img_jax.lab.results import Results
from img2img_jax.runs import HostDied


def define_flags() -> flags.FlagValues:
    """The command's flags, apart from absl's global ones, so that importing this module claims no names."""
    values = flags.FlagValues()
    common = {"flag_values": values, "module_name": "run"}
    config_flags.DEFINE_config_file(
        "config", None, "File in configs/, and its argument: configs/NAME.py:tiny.", flag_values=values
    )
    flags.DEFINE_string("workdir", None, "Where everything goes; a run that was killed goes on there.", **common)
    flags.DEFINE_string(
        "data",
        None,
        "Inputs in place of the configuration's: folder, .jsonl, .csv, or PIE-Bench's mapping_file.json.",
        **common,
    )
    flags.DEFINE_string(
        "model", None, "Folder, .safetensors file or hub id, in place of the configuration's.", **common
    )
    flags.DEFINE_boolean("verify", False, "Make a batch of a finished run again, and compare.", **common)
    flags.DEFINE_boolean("only_analysis", False, "Tables and figures of a finished run, nothing else.", **common)
    flags.DEFINE_string(
        "hosts",
        ONE,
        "auto: trials are dealt over all hosts of the launcher. INDEX/COUNT: this one's place, from 0 "
        "(docs/scaling.md).",
        **common,
    )
    flags.DEFINE_boolean("help", False, "This text.", short_name="h", **common)
    return values


def main(analyse: Analyse) -> None:
    """Runs the experiment that the process's flags ask for, and hands its results to ``analyse``; then exits.

    The exit code is 0; 1 if something failed, be it one input of many; 2 for unusable flags.
    """
    values = define_flags()
    try:
        rest = values(sys.argv)[1:]
        if rest:
            raise flags.Error(f"unexpected argument {rest[0]!r}; every value needs its flag")
        if values.help:
            print(__doc__ + values.module_help("run"))
            sys.exit(0)
        missing = [name for name in ("workdir", "config") if not values[name].value]
        if missing and not (values.only_analysis and missing == ["config"]):
            raise flags.Error(f"--{missing[0]} is missing")
        if values.hosts not in (ONE, AUTO):
            Host.parse(values.hosts)
    except (flags.Error, FileNotFoundError, ValueError) as error:
        print(f"{error}; see --help", file=sys.stderr)
        sys.exit(2)
    app.run(lambda _: _start(values, analyse), argv=sys.argv[:1])


def _start(values: flags.FlagValues, analyse: Analyse) -> int:
    try:
        if values.only_analysis:
            print(present(Results.read(values.workdir), analyse))
            return 0
        if values.hosts != ONE:
            logging.set_verbosity(logging.INFO)  # so that it is seen which host this is
        host = Host.from_flag(values.hosts)
        experiment = Experiment(_configured(values), values.workdir, host=host)
        return _verify(experiment) if values.verify else _run(experiment, analyse)
    except (ValueError, OSError, HostDied) as error:
        logging.error("%s", error)
        return 1


def _configured(values: flags.FlagValues):
    config = values.config
    with config.unlocked():
        if values.data:
            config.inputs = {"data": values.data}
            config.strokes = {"strokes": values.data} if config.strokes else {}
        if values.model:
            config.model.path = values.model
    return config


def _run(experiment: Experiment, analyse: Analyse) -> int:
    results = experiment.run()
    if results is None:
        return 0
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

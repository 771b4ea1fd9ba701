"""How does throughput go with the number of devices? README.md has the commands."""

from __future__ import annotations

import os
import time

_STARTED = time.perf_counter()

from pathlib import Path  # noqa: E402

from absl import app, flags, logging  # noqa: E402
from ml_collections import config_flags  # noqa: E402

_CONFIG = config_flags.DEFINE_config_file("config", None, "configs/scaling_study.py, and its argument.")
_WORKDIR = flags.DEFINE_string("workdir", None, "For rows and figure; what was measured there is not measured again.")
_AOT = flags.DEFINE_string("aot", None, "JSON of scripts/aot_report.py: predicts scaling to as many chips as you like.")
flags.mark_flags_as_required(["config", "workdir"])


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.INFO)
    config, workdir = _CONFIG.value, Path(_WORKDIR.value)
    if config.virtual_devices:  # before JAX is imported
        os.environ["JAX_PLATFORMS"] = "cpu"
        os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={config.virtual_devices}"
    from analysis import analyse
    from measure import measure_missing

    measure_missing(config, workdir, started=_STARTED)
    print(analyse(workdir, aot=_AOT.value))


if __name__ == "__main__":
    app.run(main)

"""Fits a calibration, strength to expected change, to the rows of a run (docs/calibration.md).

python scripts/calibrate.py --workdir=my_run --metric=ssim --output=ssim.json
"""

import sys

from absl import app, flags

from img2img_jax.finder.calibration import Calibration
from img2img_jax.reports.run_files import read_run

WORKDIR = flags.DEFINE_string("workdir", None, "The run's work directory.", required=True)
METRIC = flags.DEFINE_string("metric", "ssim", "A metric of its rows.")
OUTPUT = flags.DEFINE_string("output", None, "JSON file to write.", required=True)
WHERE = flags.DEFINE_multi_string("where", [], "Only rows with this value, such as scheduler=ddim; several times.")
ROUND_TRIP = flags.DEFINE_float("round_trip", None, "The metric of the VAE alone, where the rows do not tell.")


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    wanted = dict(condition.split("=", 1) for condition in WHERE.value)
    try:
        run = read_run(WORKDIR.value)
        rows = [row for row in run.samples if all(str(row.get(name)) == value for name, value in wanted.items())]
        fitted = Calibration.fit(
            [*rows, *run.references],
            METRIC.value,
            round_trip=ROUND_TRIP.value,
            weights_sha256=run.config.get("provenance", {}).get("weights_sha256"),
        )
        fitted.save(OUTPUT.value)
    except (ValueError, OSError) as error:
        sys.exit(f"calibrate: {error}")
    print(f"{OUTPUT.value}: {fitted.count} rows, {METRIC.value} {fitted.round_trip:.4g} to {fitted.text_to_image:.4g}")
    print(f"the run's means lie within {fitted.deviation:.2g} of the map")
    for tenth in range(1, 10):
        print(f"change {tenth / 10:g}: strength {fitted.typed(tenth / 10):g}")


if __name__ == "__main__":
    app.run(main)

"""Writes report.html into the work directory of a run, finished or not.

python scripts/report.py --workdir=my_run
"""

import sys

from absl import app, flags

from img2img_jax.reports import write_report
from img2img_jax.reports.series import MAX_SIDE, PAGE_BYTES

WORKDIR = flags.DEFINE_string("workdir", None, "The run's work directory.", required=True)
MEGABYTES = flags.DEFINE_float("megabytes", PAGE_BYTES / 1e6, "Most of embedded pictures; the rest are named.", 0.0)
SIDE = flags.DEFINE_integer("max_side", MAX_SIDE, "Pixels of an embedded picture's longer side.", 1)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    try:
        print(write_report(WORKDIR.value, page_bytes=round(MEGABYTES.value * 1e6), max_side=SIDE.value))
    except (ValueError, OSError) as error:
        sys.exit(f"report: {error}")


if __name__ == "__main__":
    app.run(main)

"""Throughput, utilisation and efficiency over numbers of devices.

Command:
  python experiments/scaling_study/run.py --config=configs/scaling_study.py --workdir=runs/scaling_study

Arguments:
  (none)    the embedded model on the devices that are there, 64 samples a device (weak) and 512 in all (strong).
  virtual   the embedded model on eight virtual devices of one CPU: what splitting a batch costs, and no speed-up;
            about five minutes of one core.
  tiny      the same code on two virtual devices and a tiny random model, in a minute.
Expected: weak efficiency near 1, since devices exchange nothing while they sample.
"""

from ml_collections import ConfigDict

CHANGES = {
    "": {},
    "virtual": dict(
        virtual_devices=8, devices=(1, 2, 4, 8), slots=2, samples=16, strengths=(0.5, 1.0), steps=2, repeats=3
    ),
    "tiny": dict(
        virtual_devices=2, devices=(1, 2), slots=2, samples=4, strengths=(0.5, 1.0), steps=2, repeats=2, model="random"
    ),
}


def get_config(arg: str = "") -> ConfigDict:
    """The configuration for an argument above."""
    config = dict(
        virtual_devices=0,  # of the CPU; 0: the devices that are there
        devices=(),  # numbers of them; (): 1, 2, 4 ... all
        slots=64,  # samples of a device, in weak scaling; a multiple of the strengths, so that all have equal work
        samples=512,  # samples in all, in strong scaling
        steps=50,
        strengths=(0.25, 0.5, 0.75, 1.0),
        repeats=5,
        model="",  # a path or hub id; "": the embedded model; "random": a tiny one with random weights
        dtype="float32",
    )
    return ConfigDict(config | CHANGES[arg])

"""A checkpoint's scheduler configuration and a sampler's name, turned into a sampling table."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from ..arguments import number
from . import prediction
from . import strength as strengths
from .handover import WHOLE, Handover
from .schedule import NoiseSchedule
from .solvers import CHECKPOINT_SCHEDULERS, SCHEDULERS, Solver
from .solvers.ddpm import FIXED_VARIANCES
from .strength import ResolvedStart
from .table import SamplingTable, tabulate

# Options under which diffusers computes something that is not implemented here, with the values that are.
_SUPPORTED = {
    "thresholding": (False,),
    "use_exponential_sigmas": (False, None),
    "use_beta_sigmas": (False, None),
    "use_lu_lambdas": (False,),
    "use_flow_sigmas": (False,),
    "interpolation_type": ("linear",),
    "timestep_type": ("discrete",),
    "sigma_min": (None,),
    "sigma_max": (None,),
    "lambda_min_clipped": (-math.inf, None),
    "predict_x0": (True,),
    "solver_p": (None,),
    "skip_prk_steps": (True,),
    "prediction_type": prediction.PREDICTION_TYPES,
    "algorithm_type": ("dpmsolver++", "sde-dpmsolver++"),
    "timestep_spacing": ("leading", "trailing", "linspace"),
    "final_sigmas_type": ("zero", "sigma_min"),
}

# The same options mean different things to different solvers.
_SUPPORTED_BY = {
    "DDPM": {"variance_type": FIXED_VARIANCES},
    "DPMSolverPP2M": {"variance_type": FIXED_VARIANCES, "solver_order": (1, 2), "solver_type": ("midpoint", "heun")},
    "UniPC": {"solver_order": (1, 2, 3), "solver_type": ("bh1", "bh2")},
}

# A file written for one multistep solver may be read by another; diffusers then falls back to the reader's own type.
_SOLVER_TYPE_FALLBACKS = {
    "DPMSolverPP2M": (("logrho", "bh1", "bh2"), "midpoint"),
    "UniPC": (("midpoint", "heun", "logrho"), "bh2"),
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Scheduler:
    """A sampler set up for a checkpoint.

    Attributes:
        name: a key of ``SCHEDULERS``, or the ``_class_name`` it was configured by.
        solver: time grids and coefficients.
    """

    name: str
    solver: Solver

    @classmethod
    def from_config(cls, config: Mapping[str, Any], name: str | None = None, verbatim: bool = False) -> "Scheduler":
        """Reads a diffusers ``scheduler_config.json``.

        What results is what diffusers' StableDiffusionImg2ImgPipeline would run: with ``name`` None the checkpoint's
        own scheduler, with a name that scheduler's class configured ``from_config``. That includes three habits. The
        pipeline sets ``steps_offset`` to 1 and ``clip_sample`` to False where the file has them (that of SDXL does not,
        hence ``verbatim``). Options the file does
        not mention take the defaults of the class that reads it, so that ``"ddim"`` and ``"ddpm"`` clip predictions to
        [-1, 1] unless the checkpoint is theirs or its file says ``"clip_sample": false``. And classes that know no
        ``rescale_betas_zero_snr`` (pndm, lms, heun) ignore it.

        Args:
            config: the file's contents.
            name: a key of ``SCHEDULERS``, or None for the class that ``config["_class_name"]`` names.
            verbatim: take ``steps_offset`` and ``clip_sample`` as the file has them.

        Raises:
            ValueError: for an unknown name or class, and for an option that is not implemented (with the
                way out).
        """
        own = CHECKPOINT_SCHEDULERS.get(str(config.get("_class_name")))
        if name is None and own is None:
            raise ValueError(
                f"the checkpoint's scheduler {config.get('_class_name')!r} is not known; choose one by name: "
                f"{', '.join(SCHEDULERS)}"
            )
        if name is not None and not (isinstance(name, str) and name in SCHEDULERS):
            raise ValueError(f"scheduler {name!r} is not known; choose one of {', '.join(SCHEDULERS)}")
        solver_class, overrides = (own, {}) if name is None else SCHEDULERS[name]
        options = _complete(config, solver_class, solver_class is own, verbatim) | overrides
        _check(options, solver_class)
        solver = solver_class(config=options, schedule=NoiseSchedule.from_config(options))
        return cls(name=name or config["_class_name"], solver=solver)

    @property
    def prediction_type(self) -> str:
        """What the network predicts: "epsilon", "v_prediction" or "sample"."""
        return self.solver.config["prediction_type"]

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise levels."""
        return self.solver.schedule

    def table(
        self,
        strength,
        num_inference_steps: int,
        mode: str = "truncate",
        noise_at_one: str = "pure",
        eta: float = 0.0,
        handover: Handover = WHOLE,
    ) -> tuple[SamplingTable, list[ResolvedStart]]:
        """What the sampling loop runs on. Text-to-image is strength 1 with ``noise_at_one="pure"``.

        Args:
            strength: a number or [B] numbers in [0, 1].
            num_inference_steps: N, at least 1.
            mode: "truncate", "exact" or "continuous" (see ``img2img_jax.diffusion.strength``).
            noise_at_one: "pure" or "leak".
            eta: the share of DDPM's noise that DDIM adds, in [0, 1].
            handover: which part of the schedule runs. After a ``denoising_start`` the start follows from it, and what
                is given as the image are the latents handed over.

        Returns:
            The table (its shape depends on B, N and the sampler, never on strength), and where each sample
            starts.

        Raises:
            ValueError: as ``strength.runs``; for an ``eta`` outside [0, 1], or not 0 for a sampler that has
                none.
        """
        if not 0 <= number("eta", eta) <= 1:
            raise ValueError(f"eta={eta} is not in the range [0, 1]")
        if eta and not self.solver.uses_eta:
            raise ValueError(f"eta={eta} has no meaning for scheduler {self.name!r}; use 0, or scheduler 'ddim'")
        solver = dataclasses.replace(self.solver, eta=float(eta))
        runs = strengths.runs(strength, num_inference_steps, solver, mode, noise_at_one, handover)
        return tabulate(runs, solver.evaluations(num_inference_steps)), [run.start for run in runs]


def _complete(config: Mapping[str, Any], solver_class: type[Solver], is_own: bool, verbatim: bool) -> dict[str, Any]:
    """Every option of ``solver_class``: the file's value, else the class's default."""
    given = {key: value for key, value in config.items() if key in solver_class.defaults}
    if is_own:
        given = dict(solver_class.defaults) | given
    # diffusers' pipeline does this to the checkpoint's scheduler, before anyone exchanges it.
    habits = {} if verbatim else {"steps_offset": 1, "clip_sample": False}
    given |= {key: value for key, value in habits.items() if key in given}
    options = dict(solver_class.defaults) | given
    replaced, own_type = _SOLVER_TYPE_FALLBACKS.get(solver_class.__name__, ((), None))
    if options.get("solver_type") in replaced:
        options["solver_type"] = own_type
    return options


def _check(options: Mapping[str, Any], solver_class: type[Solver]) -> None:
    supported = _SUPPORTED | _SUPPORTED_BY.get(solver_class.__name__, {})
    for key, values in supported.items():
        if key in options and options[key] not in values:
            raise ValueError(
                f"scheduler option {key}={options[key]!r} is not supported; set it to one of "
                f"{', '.join(map(repr, values))} in scheduler_config.json, or choose a scheduler by name: "
                f"{', '.join(SCHEDULERS)}"
            )
    karras_repeats_last = options.get("use_karras_sigmas") and options.get("final_sigmas_type") == "sigma_min"
    if solver_class.__name__ == "UniPC" and karras_repeats_last:
        raise ValueError(
            "final_sigmas_type='sigma_min' with use_karras_sigmas gives UniPC a last step of length 0; set "
            "final_sigmas_type to 'zero' in scheduler_config.json"
        )

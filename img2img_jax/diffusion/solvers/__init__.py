"""The samplers by name.

``SCHEDULERS`` maps a name to its solver and to the options the name stands for, which win over a
checkpoint's. ``CHECKPOINT_SCHEDULERS`` maps the ``_class_name`` of a checkpoint's ``scheduler_config.json``
to its solver.
"""

from .base import Grid, Row, Solver
from .ddim import DDIM
from .ddpm import DDPM
from .dpmpp import DPMSolverPP2M
from .euler import Euler, EulerAncestral
from .heun import Heun
from .lcm import LCM
from .lms import LMS
from .pndm import PNDM
from .unipc import UniPC

_KARRAS, _PLAIN = {"use_karras_sigmas": True}, {"use_karras_sigmas": False}
_2M = {"algorithm_type": "dpmsolver++", "solver_order": 2}
_2M_SDE = {"algorithm_type": "sde-dpmsolver++", "solver_order": 2}

SCHEDULERS: dict[str, tuple[type[Solver], dict]] = {
    "ddim": (DDIM, {}),
    "ddpm": (DDPM, {}),
    "pndm": (PNDM, {"skip_prk_steps": True}),
    "lms": (LMS, _PLAIN),
    "lms_karras": (LMS, _KARRAS),
    "euler": (Euler, _PLAIN),
    "euler_karras": (Euler, _KARRAS),
    "euler_a": (EulerAncestral, {}),
    "heun": (Heun, _PLAIN),
    "heun_karras": (Heun, _KARRAS),
    "dpmpp_2m": (DPMSolverPP2M, _2M | _PLAIN),
    "dpmpp_2m_karras": (DPMSolverPP2M, _2M | _KARRAS),
    "dpmpp_2m_sde": (DPMSolverPP2M, _2M_SDE | _PLAIN),
    "dpmpp_2m_sde_karras": (DPMSolverPP2M, _2M_SDE | _KARRAS),
    "unipc": (UniPC, _PLAIN),
    "unipc_karras": (UniPC, _KARRAS),
    "lcm": (LCM, {}),
}

CHECKPOINT_SCHEDULERS: dict[str, type[Solver]] = {
    "DDIMScheduler": DDIM,
    "DDPMScheduler": DDPM,
    "PNDMScheduler": PNDM,
    "LMSDiscreteScheduler": LMS,
    "EulerDiscreteScheduler": Euler,
    "EulerAncestralDiscreteScheduler": EulerAncestral,
    "HeunDiscreteScheduler": Heun,
    "DPMSolverMultistepScheduler": DPMSolverPP2M,
    "UniPCMultistepScheduler": UniPC,
    "LCMScheduler": LCM,
}

__all__ = ["CHECKPOINT_SCHEDULERS", "SCHEDULERS", "Grid", "Row", "Solver"]

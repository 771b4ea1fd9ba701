"""Training: one loop, a loss per network, weights averaged over time.

``fit`` runs any loss; what differs between the VAE, CLIP and the UNet is their loss and their batches.
"""

from img2img_jax.training.fit import FitConfig, TrainState, fit
from img2img_jax.training.optimizer import OptimizerConfig, make_optimizer

__all__ = ["FitConfig", "OptimizerConfig", "TrainState", "fit", "make_optimizer"]

"""The VAE of the emoji model: 64 px, 4 times smaller along each side, 6 channels.

Command:
  python experiments/train_emoji/run.py --config=configs/train_emoji_vae.py --workdir=runs/vae
``:tiny`` runs the same code in under two minutes.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
    """The configuration; ``arg`` is "" or "tiny"."""
    tiny = arg == "tiny"
    channels = (8, 8, 16) if tiny else (24, 48, 96)
    steps = 10 if tiny else 3000
    return ConfigDict(
        dict(
            stage="vae",
            resolution=64,
            batch_size=4 if tiny else 8,
            num_concepts=50 if tiny else 0,
            loss=dict(gradient=1.0, chroma=1.0, kl=1e-4, noise=0.0),
            model=dict(
                down_block_types=("DownEncoderBlock2D",) * 3,
                up_block_types=("UpDecoderBlock2D",) * 3,
                block_out_channels=channels,
                layers_per_block=1,
                latent_channels=6,
                norm_num_groups=8,
                sample_size=64,
                scaling_factor=1.0,
            ),
            optimizer=dict(learning_rate=1.5e-3, steps=steps, warmup_steps=steps // 20, weight_decay=0.0),
            fit=dict(
                steps=steps,
                ema_decay=0.998,
                log_every=5 if tiny else 20,
                evaluate_every=10 if tiny else 200,
                checkpoint_every=10 if tiny else 100,
            ),
        )
    )

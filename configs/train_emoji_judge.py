"""A classifier of real emoji pictures that judges what the model draws; no part of the model.

Command:
  python experiments/train_emoji/run.py --config=configs/train_emoji_judge.py --workdir=runs/judge
``:tiny`` runs the same code in under two minutes.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
    """The configuration; ``arg`` is "" or "tiny"."""
    tiny = arg == "tiny"
    steps = 10 if tiny else 2000
    return ConfigDict(
        dict(
            stage="judge",
            resolution=64,
            batch_size=16 if tiny else 96,
            model=dict(
                channels=(8, 16) if tiny else (32, 64, 128, 256, 256),
                style_channels=(8, 16) if tiny else (32, 64, 96, 128),
            ),
            optimizer=dict(learning_rate=2e-3, steps=steps, warmup_steps=steps // 10, weight_decay=0.05),
            fit=dict(
                steps=steps,
                ema_decay=0.99,
                log_every=5 if tiny else 50,
                evaluate_every=10 if tiny else 250,
                checkpoint_every=10 if tiny else 250,
            ),
        )
    )

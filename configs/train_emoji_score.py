"""The CLIP that scores what the emoji model draws. It is not the one whose text tower conditions the UNet: that one
would flatter what it taught, and could not be trained on without moving the states that the UNet listens to.

No other stage needs it. Cost: about 100 minutes on one CPU core. Command:
  python experiments/train_emoji/run.py --config=configs/train_emoji_score.py --workdir=runs/score
``:tiny`` runs the same code in under two minutes.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
    """The configuration; ``arg`` is "" or "tiny"."""
    tiny = arg == "tiny"
    width = 32 if tiny else 128
    steps = 20 if tiny else 4700
    every = 20 if tiny else 200
    return ConfigDict(
        dict(
            stage="clip",
            resolution=64,
            batch_size=16 if tiny else 128,
            num_concepts=50 if tiny else 0,
            more_captions=16 if tiny else 128,
            traced_share=0.15,
            smoothing=0.05,
            kept_share=0.75,
            heads_as_taps=True,
            augmentation=dict(move=1.0, degrees=12.0, scale=0.15, shift=0.05, soften=0.5),
            model=dict(
                projection_dim=width,
                text_config=dict(
                    vocab_size=4000,
                    max_position_embeddings=24,
                    eos_token_id=3999,
                    hidden_size=width,
                    intermediate_size=4 * width,
                    num_hidden_layers=1 if tiny else 2,
                    num_attention_heads=4,
                    hidden_act="gelu",
                    projection_dim=width,
                ),
                vision_config=dict(
                    image_size=64,
                    patch_size=16 if tiny else 8,
                    hidden_size=width,
                    intermediate_size=4 * width,
                    num_hidden_layers=1 if tiny else 5,
                    num_attention_heads=2 if tiny else 8,
                    hidden_act="gelu",
                    projection_dim=width,
                ),
            ),
            optimizer=dict(learning_rate=1e-3, steps=steps, warmup_steps=steps // 10, weight_decay=0.1),
            fit=dict(steps=steps, ema_decay=0.995, log_every=10, evaluate_every=every, checkpoint_every=every),
        )
    )

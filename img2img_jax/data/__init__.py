"""Data: the emoji set, its captions, augmentations and tokenizer."""

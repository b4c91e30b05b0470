"""Trainer of diffusion models, with a moving average of the weights and checkpoints (spec chapters 8 and 9)."""

"""The trainer: from images to a trained, averaged, resumable model (spec chapters 8 and 9)."""

"""Embedding of class labels (spec chapter 9, NET-4): one learned row per class, and one for the null label."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from refdiff.errors import DomainError


@final
class LabelEmbedding(nn.Module):
    """Rows added to the features of a layer; all are 0 before training, so that a label changes nothing (NET-4)."""

    def __init__(self, classes: int, channels: int) -> None:
        """Set the sizes.

        Args:
            classes: Number of classes, at least 1; the row after the last belongs to the null label.
            channels: Features of the layer.

        Raises:
            DomainError: classes < 1.
        """
        super().__init__()
        if classes < 1:
            raise DomainError("NET-4", "at least 1 class", classes)
        self.classes = classes
        self.rows = nn.Embedding(classes + 1, channels)
        nn.init.zeros_(self.rows.weight)

    def forward(self, label: Tensor) -> Tensor:
        """Return the rows, (batch, channels), of labels in 0..classes, (batch,), int64."""
        rows: Tensor = self.rows(label)
        return rows


def add_label(features: Tensor, embedding: LabelEmbedding | None, label: Tensor | None) -> Tensor:
    """Return features (batch, channels) plus the rows of the labels, or unchanged in a network without classes.

    Raises:
        DomainError: A label is missing, given to a network without classes, or of another shape or dtype.
    """
    if embedding is None:
        if label is not None:
            raise DomainError(
                "NET-4", "no label for a network without classes", f"labels of shape {tuple(label.shape)}"
            )
        return features
    if label is None or label.shape != features.shape[:1] or label.dtype != torch.int64:
        need = f"labels of shape ({len(features)},), int64, for a network with {embedding.classes} classes"
        raise DomainError("NET-4", need, "none" if label is None else f"{label.dtype} {tuple(label.shape)}")
    labelled: Tensor = features + embedding(label)
    return labelled

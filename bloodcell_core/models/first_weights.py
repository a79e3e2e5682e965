"""First weights for networks that are trained from scratch and have no normalisation layers."""

from torch import nn


def he_weights(layer: nn.Module) -> None:
    """Draws a layer's weights after He et al. 2015, which keep a signal's strength through layers of ReLU.

    PyTorch's own shrink it in every layer, until all pictures give nearly the same answer: the plain networks then
    stayed at chance for epochs, or for good (docs/experiments.md). For `nn.Module.apply`; layers without weights are
    left alone.
    """
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)

"""Initial weights of networks that are trained from scratch."""

from torch import nn


def he_weights(layer: nn.Module) -> None:
    """He initialisation (He et al. 2015), which keeps the variance of a signal through layers of ReLU.

    PyTorch's default shrinks it in every layer until all pictures give nearly the same answer: networks without
    normalisation then stayed at chance for epochs, or for ever (docs/experiments.md). For `nn.Module.apply`; layers
    without weights are left alone.
    """
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)

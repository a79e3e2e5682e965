"""`basic_cnn`: two convolutions and one linear layer, the smallest network of the original analysis."""

from torch import Tensor, nn

from bloodcell_core.models.first_weights import he_weights


class BasicCNN(nn.Module):
    """(N, 3, size, size) → (N, classes); `width` multiplies the channels."""

    def __init__(self, classes: int, size: int, width: float):
        super().__init__()
        first, last = round(16 * width), round(32 * width)
        self.features = nn.Sequential(
            nn.Conv2d(3, first, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(first, last, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Linear(last * (size // 4) ** 2, classes)
        self.apply(he_weights)

    def forward(self, pictures: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(pictures).flatten(1))
        return logits


def build(classes: int, size: int, width: float) -> nn.Module:
    """The network for pictures of `size`×`size`."""
    return BasicCNN(classes, size, width)

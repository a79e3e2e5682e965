"""`basic_cnn`: two convolutions and one linear layer, the smallest network of the original analysis."""

from torch import Tensor, nn

from bloodcell_core.models.first_weights import he_weights


class BasicCNN(nn.Module):
    """(N, 3, size, size) → (N, classes)."""

    def __init__(self, classes: int, size: int):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Linear(32 * (size // 4) ** 2, classes)
        self.apply(he_weights)

    def forward(self, pictures: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(pictures).flatten(1))
        return logits


def build(classes: int, size: int) -> nn.Module:
    return BasicCNN(classes, size)

"""`deep_cnn`: the original analysis's BloodcellCNM, four convolutions and three linear layers with dropout.

Its published listing is garbled; docs/original-analysis.md says how it was reconstructed.
"""

from itertools import pairwise

from torch import Tensor, nn

from bloodcell_core.models.first_weights import he_weights


class DeepCNN(nn.Module):
    """(N, 3, size, size) → (N, classes); `dropout` is that of the second dropout layer, the first has half of it."""

    def __init__(self, classes: int, size: int, dropout: float):
        super().__init__()
        channels = (3, 32, 64, 128, 256)
        blocks: list[nn.Module] = []
        for before, after in pairwise(channels):
            blocks += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(4))
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout / 2), nn.Linear(256 * 4 * 4, 512), nn.ReLU(),
            nn.Dropout(dropout), nn.Linear(512, 128), nn.ReLU(),
            nn.Linear(128, classes),
        )  # fmt: skip

        self.apply(he_weights)

    def forward(self, pictures: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(pictures))
        return logits


def build(classes: int, size: int, dropout: float) -> nn.Module:
    """The network for pictures of `size`×`size`."""
    return DeepCNN(classes, size, dropout)

"""What the audit's measures can tell and cost: `python -m benchmarks.bench_audit DATASET …` on imported datasets.

1. Looks: in how many of 256 bits copies of a picture differ from it, and the nearest pictures of different photos.
2. Focus: how often a picture has more of it than another has that was blurred (area under the ROC curve).
3. Milliseconds for the facts of a picture, how much of them goes into finding cells, and seconds for an audit.
4. Seconds for the look-alikes among 330,000 made-up looks: those of the datasets with a quarter of their bits flipped.

Times are processor time of one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import cv2
import numpy as np
from sklearn.metrics import roc_auc_score

from bloodcell_core.cells import find_cells
from bloodcell_core.data.audit import audit
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.facts import facts_of
from bloodcell_core.data.findings import NEAR_BITS
from bloodcell_core.data.lookalikes import near_groups

BLURS = (0.003, 0.005, 0.006, 0.009)  # standard deviation over the picture's longer side: 1, 1.5, 2 and 3 of 320 pixels
MADE_UP = 330_000


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def moved(picture: np.ndarray, turn: float, shift: float) -> np.ndarray:
    """Turned by degrees and shifted by a share of the longer side, the edge repeated."""
    height, width = picture.shape[:2]
    transform = cv2.getRotationMatrix2D((width / 2, height / 2), turn, 1)
    transform[:, 2] += shift * max(width, height)
    return cv2.warpAffine(picture, transform, (width, height), borderMode=cv2.BORDER_REPLICATE)


def blurred(picture: np.ndarray, share: float) -> np.ndarray:
    return cv2.GaussianBlur(picture, (0, 0), share * max(picture.shape))


def noisy(picture: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 8, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "JPEG 30": lambda picture: jpeg(picture, 30),
    "half the size": lambda picture: cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "96×96": lambda picture: cv2.resize(picture, (96, 96), interpolation=cv2.INTER_AREA),
    "gamma 0.7": lambda picture: (255 * (picture / 255) ** 0.7).astype(np.uint8),
    "30% darker": lambda picture: (0.7 * picture).astype(np.uint8),
    "blurred": lambda picture: blurred(picture, 0.005),
    "noise of 8": noisy,
    "shift 0.3%": lambda picture: moved(picture, 0, 0.003),
    "shift 0.6%": lambda picture: moved(picture, 0, 0.006),
    "shift 1%": lambda picture: moved(picture, 0, 0.01),
    "turn 1°": lambda picture: moved(picture, 1, 0),
    "turn 2°": lambda picture: moved(picture, 2, 0),
}


def look(picture: np.ndarray) -> np.ndarray:
    """bool (256,)."""
    return np.unpackbits(np.frombuffer(facts_of("RGB", picture).look, np.uint8)).astype(bool)


def nearest_unrelated(dataset: Dataset, bits: np.ndarray, count: int) -> list[int]:
    """The least distances between pictures of different scenes."""
    signs = bits.astype(np.float32) * 2 - 1
    scenes = dataset.pictures.scene.factorize()[0]
    least: list[int] = []
    for start in range(0, len(signs), 1000):
        distances = ((256 - signs[start : start + 1000] @ signs.T) / 2).round().astype(int)
        rows = np.arange(start, start + len(distances))[:, None]
        other = (rows < np.arange(len(signs))) & (scenes[rows] != scenes)
        if other.any():
            least = sorted([*least, *np.partition(distances[other], min(count, other.sum() - 1))[:count].tolist()])[
                :count
            ]
    return least


def milliseconds(work: Callable[[np.ndarray], object], pictures: list[np.ndarray]) -> float:
    """The best of three passes, per picture."""
    spent = []
    for _ in range(3):
        started = time.process_time()
        for picture in pictures:
            work(picture)
        spent.append(time.process_time() - started)
    return min(spent) / len(pictures) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", nargs="+")
    parser.add_argument("--pictures", type=int, default=150, help="of each dataset, that are changed")
    chosen = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    all_bits = []
    for name in chosen.datasets:
        dataset = Dataset(name)
        some = rng.choice(len(dataset.pictures), chosen.pictures, replace=False)
        pictures = [dataset.read_original(int(row)) for row in some]
        print(f"\n{name}: {len(dataset.pictures):,} pictures, of which {len(pictures)} are changed")
        bits = np.unpackbits(np.frombuffer(b"".join(dataset.pictures.look), np.uint8).reshape(-1, 32), axis=1)
        all_bits.append(bits)
        own = [look(picture) for picture in pictures]
        for title, change in COPIES.items():
            differ = [int((look(change(picture)) != mine).sum()) for picture, mine in zip(pictures, own, strict=True)]
            near = f"within {NEAR_BITS}: {np.mean(np.array(differ) <= NEAR_BITS):.0%}"
            print(f"  {title:14} median {np.median(differ):3.0f}, most {max(differ):3} bits; {near}")
        print(f"  nearest of different photos: {nearest_unrelated(dataset, bits, 6)} bits")
        for share in BLURS:
            truth = [1] * len(pictures) + [0] * len(pictures)
            both = pictures + [blurred(picture, share) for picture in pictures]
            focus = roc_auc_score(truth, [facts_of("RGB", picture).focus for picture in both])
            print(f"  blurred by {share:.1%} of the side: focus {focus:.3f}")
        whole, cells = (
            milliseconds(lambda picture: facts_of("RGB", picture), pictures),
            milliseconds(find_cells, pictures),
        )
        started = time.process_time()
        audit(dataset)
        print(
            f"  {whole:.1f} ms a picture, {cells:.1f} of them find cells; audit {time.process_time() - started:.1f} s"
        )
    looks = np.concatenate(all_bits)[rng.integers(0, sum(map(len, all_bits)), MADE_UP)]
    looks = np.packbits(looks ^ (rng.random(looks.shape) < 0.25), axis=1)
    started = time.process_time()
    near_groups(looks, NEAR_BITS)
    print(f"\nlook-alikes among {MADE_UP:,}: {time.process_time() - started:.0f} s")


if __name__ == "__main__":
    main()

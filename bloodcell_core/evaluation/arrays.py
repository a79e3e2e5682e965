"""Names for the arrays that figures are made of."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int64]
"""Indices of classes, 0…C-1."""
Numbers = npt.NDArray[np.intp]
"""Counts, and places in another array."""

"""The accuracy-error line: how many percentage points of accuracy an error costs.

Accuracy falls linearly in the sum of eps while that is small (paper, section 3). So a few
measurements on held-out images tell what any choice will lose. In our networks losses bend upwards
well before they reach three percentage points; the line therefore has a corner at each measurement.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from golden.errors import UserError

__all__ = ["AccuracyLine"]


class AccuracyLine:
    """A line that runs straight from the origin to each measurement in turn, and beyond the last.

    A measurement that is below one at a smaller error is taken as noise, and as equal to it.

    Parameters
    ----------
    errors, drops : one number for each measurement
        Sums of eps over the layers, positive, and lost percentage points of top-1 accuracy.

    Raises
    ------
    UserError
        If no measurement shows a loss.
    """

    def __init__(self, errors: Sequence[float], drops: Sequence[float]) -> None:
        order = np.argsort(errors)
        self.errors = np.concatenate([[0.0], np.asarray(errors)[order]])
        self.drops = np.maximum.accumulate(np.concatenate([[0.0], np.asarray(drops)[order]]))
        if self.drops[-1] <= 0:
            raise UserError(
                "the held-out images show no loss of accuracy that thresholds could be chosen by; "
                "use more of them with --held-out or --augment-held-out, or, if the network was "
                "trained on them, give --unseen-accuracy"
            )

    @property
    def corners(self) -> list[tuple[float, float]]:
        """(error, drop) of each measurement, as the line passes through it."""
        return list(zip(self.errors[1:].tolist(), self.drops[1:].tolist()))

    def drop_at(self, error: float) -> float:
        """Return the percentage points that are lost at an error."""
        beyond = max(error / self.errors[-1], 1)
        return float(np.interp(error, self.errors, self.drops) * beyond)

    def error_at(self, drop: float) -> float:
        """Return the error at which so many percentage points are lost."""
        beyond = max(drop / self.drops[-1], 1)
        return float(np.interp(drop, self.drops, self.errors) * beyond)

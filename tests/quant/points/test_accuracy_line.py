"""The accuracy-error line passes through its measurements."""

from __future__ import annotations

import pytest

from golden.errors import UserError
from quant.points.accuracy_line import AccuracyLine


def test_a_line_has_a_corner_at_each_measurement() -> None:
    line = AccuracyLine([2.0, 1.0, 3.0], [4.0, 1.0, 3.5])  # the last is noise
    assert [line.drop_at(e) for e in (0, 0.5, 1, 1.5, 3, 6)] == pytest.approx(
        [0, 0.5, 1, 2.5, 4, 8]
    )
    assert [line.error_at(d) for d in (0, 0.5, 1, 2.5, 8)] == pytest.approx([0, 0.5, 1, 1.5, 6])
    with pytest.raises(UserError, match="show no loss of accuracy"):
        AccuracyLine([0.1, 0.2], [0.0, -0.1])

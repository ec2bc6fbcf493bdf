"""The precision that a device is fastest in."""

from __future__ import annotations

import pytest

from quant.runtime.precision import fastest_precision


@pytest.mark.parametrize("units", [True, False])
def test_bfloat16_is_taken_where_the_processor_has_matrix_units_for_it(
    units: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"amx_bf16": units})
    assert fastest_precision("cpu") == ("bfloat16" if units else "float32")

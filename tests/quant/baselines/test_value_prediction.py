"""Value prediction: a window is zero if its diagonal is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from golden.bundle import Bundle
from golden.layers import Counters, conv
from golden.network import Network
from golden.zap_sites import zap_sites
from quant.baselines.value_prediction import ValuePrediction, diagonals, predict_zeros
from quant.frontend.graph import Graph
from tests.quant.dead_channels import ZAP_LAYERS, assert_equal_bits, conv_steps

OFM = [
    [0, 7, 3, 9, 1],
    [8, 0, 0, 0, 2],
    [0, 0, 5, 0, 0],
    [0, 0, 6, 0, 4],
    [2, 1, 0, 3, 0],
]


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (
            2,  # kept: the windows at (0, 2), (0, 4), (2, 2) and (4, 0), two of them cut
            [
                [0, 0, 3, 9, 1],
                [0, 0, 0, 0, 2],
                [0, 0, 5, 0, 0],
                [0, 0, 6, 0, 0],
                [2, 1, 0, 0, 0],
            ],
        ),
        (
            3,  # kept: all but the window at (3, 3), which is cut to 2 x 2
            [
                [0, 7, 3, 9, 1],
                [8, 0, 0, 0, 2],
                [0, 0, 5, 0, 0],
                [0, 0, 6, 0, 0],
                [2, 1, 0, 0, 0],
            ],
        ),
        (
            9,  # one window, kept for its 5
            OFM,
        ),
    ],
)
def test_windows_are_zero_if_their_diagonal_is(window: int, expected: list[list[int]]) -> None:
    result = predict_zeros(torch.tensor(OFM, dtype=torch.int32)[None, None], window)
    assert result.ofm[0, 0].tolist() == expected


def test_diagonals_of_cut_windows() -> None:
    assert diagonals(4, 5, 3).int().tolist() == [
        [1, 0, 0, 1, 0],
        [0, 1, 0, 0, 1],
        [0, 0, 1, 0, 0],
        [1, 0, 0, 1, 0],
    ]


@pytest.mark.parametrize("seed", range(20))
def test_value_prediction_equals_a_reference(seed: int) -> None:
    """The reference takes one window at a time, by Python's slices."""
    rng = np.random.default_rng(seed)
    window = int(rng.integers(1, 6))
    shape = (2, 3, *(int(size) for size in rng.integers(1, 12, 2)))
    dense = rng.integers(0, 256, shape) * (rng.random(shape) < 0.2)
    ofm = dense.copy()
    computed = kept = 0
    for n, c in np.ndindex(*shape[:2]):
        for y in range(0, shape[2], window):
            for x in range(0, shape[3], window):
                part = ofm[n, c, y : y + window, x : x + window]
                diagonal = part.diagonal().copy()
                computed += len(diagonal)
                if diagonal.any():
                    kept += part.size - len(diagonal)
                else:
                    part[:] = 0
    result = predict_zeros(torch.from_numpy(dense.astype(np.int32)), window)
    np.testing.assert_array_equal(result.ofm.numpy(), ofm)
    np.testing.assert_array_equal(result.ofm.numpy(), dense * result.keep.numpy())
    assert result.counters == Counters(computed, kept, dense.size - computed - kept)
    assert int(result.keep.sum()) == computed + kept


def test_values_are_predicted_where_a_zap_could_be(
    plain_network: tuple[Graph, Bundle],
) -> None:
    graph, bundle = plain_network
    sites = [node.name for node in zap_sites(bundle.manifest)]
    assert sites == [layer.name for layer in graph.zap_sites()] == ZAP_LAYERS
    for step, node, result in conv_steps(ValuePrediction(bundle, 3)):
        dense = conv(bundle.conv(node), step.ifm, None, step.residual).ofm
        here = node.name in ZAP_LAYERS
        assert torch.equal(step.ofm, predict_zeros(dense, 3).ofm if here else dense)
        assert (result.counters.skipped > 0) == here


def test_windows_of_one_activation_predict_nothing(zap_bundle: Bundle) -> None:
    assert_equal_bits(ValuePrediction(zap_bundle, 1), Network(zap_bundle))

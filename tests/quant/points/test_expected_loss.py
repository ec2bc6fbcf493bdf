"""Expected losses agree with counted ones in the mean, and vary less."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from quant.points.expected_loss import ExpectedLoss, Loss, counted_loss

SCALE = 0.05
SHARPNESS = 3.0
"""The classes are drawn as likely as the results say at this temperature."""


def _draw(images: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Results of a network, of one that is disturbed, and labels that follow the first."""
    generator = torch.Generator().manual_seed(seed)
    values = 6 * torch.randn(images, 10, generator=generator)
    labels = (values / SHARPNESS).softmax(1).multinomial(1, generator=generator)[:, 0]
    disturbed = values + 0.5 * torch.randn(images, 10, generator=generator)
    dense, zap = (
        (v / SCALE).round().clamp(-2000, 2000).to(torch.int16) for v in (values, disturbed)
    )
    return dense, zap, labels


def test_the_temperature_is_the_one_that_labels_were_drawn_at() -> None:
    dense, _, labels = _draw(20_000, 1)
    assert ExpectedLoss(dense, SCALE, labels).temperature == pytest.approx(SHARPNESS, rel=0.1)


def test_it_is_what_counting_gives_on_many_images_and_a_third_as_uncertain() -> None:
    dense, zap, labels = _draw(40_000, 2)
    counted = counted_loss(dense, zap, labels)
    expected = ExpectedLoss(dense, SCALE, labels).of(zap)
    assert expected.drop == pytest.approx(counted.drop, abs=3 * counted.deviation)
    assert expected.deviation < counted.deviation / 3


def test_a_network_that_changes_no_class_loses_nothing() -> None:
    dense, _, labels = _draw(100, 3)
    loss = ExpectedLoss(dense, SCALE, labels).of(dense)
    assert (loss.drop, loss.deviation) == (0, 0)


def test_against_the_network_s_own_classes_changes_are_counted() -> None:
    dense, zap, _ = _draw(5_000, 4)
    classes = dense.argmax(1)
    expected = ExpectedLoss(dense, SCALE, classes).of(zap)
    assert expected == counted_loss(dense, zap, classes)


def test_the_standard_error_is_that_of_paired_images() -> None:
    dense = torch.tensor([[1, 0], [1, 0], [0, 1], [0, 1]])
    zap = torch.tensor([[0, 1], [1, 0], [1, 0], [0, 1]])
    loss = counted_loss(dense, zap, torch.tensor([0, 0, 0, 1]))
    assert loss.drop == 0
    assert loss.deviation == pytest.approx(100 * (0.5**0.5) / 2)


def test_a_bound_is_two_standard_errors_above_the_expectation() -> None:
    assert Loss(drop=0.5, deviation=0.25).bound == 1.0

"""Compiled code gives golden's bits and counts, or is refused."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch

from compiler.program import DENSE
from golden.bundle import Bundle
from golden.layers import Conv, Predictor
from golden.manifest import ConvNode
from golden.network import Network, Step, quantise_images
from golden.pattern import Pattern
from hw.contract.config import PRESETS
from quant.native import library, sums
from quant.native.check import is_exact
from quant.native.library import Kernels, load_kernels
from quant.native.network import NativeNetwork, NativeStep, checked_kernels, native_network
from quant.native.sums import IntegerSums, integer_sums
from quant.points.evaluation import run_batch
from quant.points.statistics import collect_statistics
from tb.random.networks import random_runs
from tests.quant.dead_channels import IMAGES

FEW = IMAGES.first(9)
WEIGHT = 64
"""Twice 255 times this is within 16 bits, so that any processor's sums of bytes are exact."""


@pytest.fixture
def kernels() -> Kernels:
    found = checked_kernels()
    assert found is not None, "no C++ compiler, which Verilator needs too"
    return found


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def _pairs(
    bundle: Bundle, predictors: Mapping[str, Predictor], images: torch.Tensor, kernels: Kernels
) -> Iterator[tuple[Step, NativeStep]]:
    compiled = NativeNetwork(bundle, predictors, kernels)
    return zip(Network(bundle, predictors).steps(images), compiled.steps(images), strict=True)


def _assert_same(one: Step, other: NativeStep) -> None:
    assert torch.equal(other.ifm.to(torch.int32), one.ifm)
    assert torch.equal(other.ofm.to(torch.int32), one.ofm)
    if one.result is not None:
        assert other.counters == one.result.counters
        lost = one.result.dense.count_nonzero() - one.result.ofm.count_nonzero()
        assert other.wrong == int(lost)


@pytest.mark.parametrize("seed", range(4))
def test_random_networks_give_the_same_bits(kernels: Kernels, seed: int) -> None:
    """They have groups, dilation, uneven and negative padding, shortcuts, concatenations."""
    for bundle, run in random_runs(PRESETS["small"], 4, seed):
        image = torch.from_numpy(run.image)[None]
        images = torch.cat([image, image.flip(3), image.flip(2)])
        runs = [(bundle, {}), *([bundle.at(run.point)] if run.point != DENSE else [])]
        for network, predictors in runs:
            for one, other in _pairs(network, predictors, images, kernels):
                _assert_same(one, other)


@pytest.mark.usefixtures("two_threads")
def test_threads_share_the_images(zap_bundle: Bundle, kernels: Kernels) -> None:
    predictors = zap_bundle.uniform(_pattern(zap_bundle), 0.1)
    images = quantise_images(zap_bundle, FEW.pixels(slice(None)))
    for one, other in _pairs(zap_bundle, predictors, images, kernels):
        _assert_same(one, other)


def test_an_evaluation_counts_the_same(zap_bundle: Bundle) -> None:
    predictors = zap_bundle.uniform(_pattern(zap_bundle), 0.1)
    compiled = native_network(zap_bundle, predictors)
    assert compiled is not None
    batch = FEW.pixels(slice(None)), FEW.labels
    result = run_batch(compiled, *batch)
    assert result == run_batch(Network(zap_bundle, predictors), *batch)
    assert sum(layer.skipped for layer in result.layers) > 0


def test_statistics_are_the_same(zap_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = collect_statistics(zap_bundle, FEW)
    for name in ("checked_kernels", "native_network"):
        monkeypatch.setattr(f"quant.points.statistics.{name}", lambda *_: None)
    golden = collect_statistics(zap_bundle, FEW)
    for site, curves in golden.sites.items():
        assert (curves.channel_error == compiled.sites[site].channel_error).all()
        assert (curves.channel_skipped == compiled.sites[site].channel_skipped).all()


def test_large_sums_are_computed_in_parts() -> None:
    layer = _conv(torch.full((2, 1024, 3, 3), WEIGHT, dtype=torch.int8))
    found = integer_sums(layer, (1024, 3, 3), False)
    assert found is not None
    ifm = torch.full((1, 1024, 3, 3), 255, dtype=torch.uint8)
    expected = 9 * 1024 * WEIGHT * 255
    assert expected > 1 << 24
    assert found(ifm.contiguous(memory_format=torch.channels_last)).tolist() == [
        [[[expected]], [[expected]]]
    ]


def test_sums_that_saturate_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs of products are added in 16 bits on processors without instructions for such sums."""
    layer = _conv(torch.full((2, 4, 1, 1), WEIGHT, dtype=torch.int8))
    assert integer_sums(layer, (4, 2, 2), False) is not None
    exact = IntegerSums.__call__

    def saturating(self: IntegerSums, ifm: torch.Tensor) -> torch.Tensor:
        return exact(self, ifm).clamp(max=4 * WEIGHT * 255 - 1)

    monkeypatch.setattr(sums.IntegerSums, "__call__", saturating)
    assert integer_sums(layer, (4, 2, 2), False) is None


def test_refused_layers_run_in_golden_s_sums(
    zap_bundle: Bundle, kernels: Kernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quant.native.layers.integer_sums", lambda *_: None)
    compiled = NativeNetwork(zap_bundle, {}, kernels)
    convs = [node.name for node in zap_bundle.manifest.layers if isinstance(node, ConvNode)]
    assert compiled.refused == convs
    images = quantise_images(zap_bundle, FEW.pixels(slice(None)))
    for one, other in zip(Network(zap_bundle).steps(images), compiled.steps(images)):
        _assert_same(one, other)


def test_kernels_that_differ_are_refused(kernels: Kernels, tmp_path: Path) -> None:
    """A kernel that rounds halves down is found by the check that precedes its use."""
    assert is_exact(kernels)
    source = tmp_path / "kernels.cpp"
    text = library._SOURCE.read_text()
    source.write_text(text.replace("scale.low + 0.5, first", "scale.low + 0.4375, first"))
    file = tmp_path / "kernels.so"
    subprocess.run(["c++", *library._FLAGS, "-o", str(file), str(source)], check=True)
    assert not is_exact(Kernels(file))


def test_without_a_compiler_golden_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quant.native.library.shutil.which", lambda name: None)
    assert load_kernels.__wrapped__() is None


def test_a_compiler_that_fails_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(library, "_FLAGS", ("--no-such-option",))
    assert load_kernels.__wrapped__() is None
    assert list((tmp_path / "zapcore").iterdir()) == []


def _conv(weight: torch.Tensor) -> Conv:
    ones = torch.ones(len(weight), dtype=torch.int32)
    return Conv(name="conv", weight=weight, bias=0 * ones, multiplier=ones, shift=ones)


def _pattern(bundle: Bundle) -> Pattern:
    return Pattern.parse(next(iter(bundle.manifest.predictors.values())).pattern)

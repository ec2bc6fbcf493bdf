"""Networks from ONNX files: every operator gives what onnxruntime gives, or is refused."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from torch import nn

from golden.errors import UserError
from quant.frontend.check import check_equal
from quant.frontend.graph import ConvLayer
from quant.frontend.lowering import lower, lower_checked
from quant.frontend.onnx.model import OnnxModel
from quant.frontend.onnx.open_file import import_onnx
from quant.networks.registry import MODELS
from tests.quant.tiny_networks import SHAPE, branches_module, randomise_batch_norms, tiny_module

NEWEST = onnx.defs.onnx_opset_version() - 1
"""onnxruntime knows an opset some time after the onnx package defines it."""

Arrays = Mapping[str, Any]


def array(*shape: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


HEAD = ["h0 = Conv<pads=[1, 1, 1, 1]>(x, w0, b0)", "h = Relu(h0)"]
WEIGHTS: Arrays = {
    "w0": array(6, 3, 3, 3) / 3,
    "b0": array(6),
    "w": array(4, 6, 3, 3) / 5,
    "b": array(4),
    "fc": array(6 * 10 * 12, 5) / 20,
    "fc_t": array(5, 6 * 10 * 12) / 20,
    "five": array(5),
    "gain": np.abs(array(6)) + 0.5,
    "mean": array(6, seed=4),
    "variance": np.abs(array(6, seed=5)) + 0.5,
    "per_channel": array(6, 1, 1),
    "zero": np.float32(0),
    "one": np.float32(1),
    "minus_one": np.array([-1], np.int64),
    "axis_0": np.array([0], np.int64),
    "height_width": np.array([2, 3], np.int64),
    "flat": np.array([0, -1], np.int64),
}


def build(
    file: Path,
    lines: Sequence[str],
    opset: int = 17,
    arrays: Arrays | None = None,
    sizes: Sequence[int | str] = ("n", 3, 10, 12),
    outputs: Sequence[str] = ("y",),
) -> Path:
    """Save a model whose nodes are in ONNX's text format; its input is `x`."""
    nodes = [onnx.parser.parse_node(line) for line in lines]
    used = {name for node in nodes for name in node.input}
    constants = {**WEIGHTS, **(arrays or {})}
    initializers = [
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in constants.items()
        if name in used
    ]
    images = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, sizes)
    results = [helper.make_empty_tensor_value_info(name) for name in outputs]
    for result in results:
        result.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    graph = helper.make_graph(nodes, "test", [images], results, initializers)
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model_gen_version(graph, opset_imports=opsets)
    onnx.save(model, file)
    return file


def checked(file: Path, shape: tuple[int, int, int] | None = None) -> OnnxModel:
    """Import a file and compare its graph with onnxruntime on three images."""
    model = import_onnx(file, shape)
    torch.manual_seed(2)
    images = torch.randn(3, *model.shape)
    graph = lower_checked(model, images)
    assert float(model(images).abs().max()) > 0
    results = {layer.name: ofm for layer, ofm in graph.run(images)}
    got, expected = results[graph.output].flatten(1), model(images).flatten(1)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)
    return model


OPERATORS: dict[str, tuple[int, list[str]]] = {
    "conv": (9, ["y = Conv<strides=[2, 1], pads=[1, 0, 1, 0]>(h, w, b)"]),
    "conv without bias": (11, ["y = Conv<dilations=[2, 1], pads=[2, 0, 2, 0]>(h, w)"]),
    "conv valid": (11, ['y = Conv<auto_pad="VALID">(h, w)']),
    "conv same": (NEWEST, ['y = Conv<auto_pad="SAME_UPPER">(h, w)']),
    "conv same lower": (9, ['y = Conv<auto_pad="SAME_LOWER", strides=[1, 1]>(h, w)']),
    "grouped conv": (11, ["y = Conv<group=2>(h, grouped)"]),
    "depthwise conv": (11, ["y = Conv<group=6>(h, depthwise)"]),
    "gemm": (9, ["f = Flatten(h)", "y = Gemm(f, fc, five)"]),
    "gemm with factors": (
        11,
        ["f = Flatten(h)", "y = Gemm<alpha=0.5, beta=2.0, transB=1>(f, fc_t, five)"],
    ),
    "gemm without bias": (13, ["f = Flatten<axis=1>(h)", "y = Gemm(f, fc)"]),
    "matmul": (9, ["f = Reshape(h, flat)", "m = MatMul(f, fc)", "y = Add(m, five)"]),
    "batch norm": (9, ["y = BatchNormalization<epsilon=0.1>(h0, gain, b0, mean, variance)"]),
    "batch norm 15": (15, ["a = BatchNormalization(h, gain, b0, mean, variance)", "y = Relu(a)"]),
    "relu": (14, ["c = Conv(h, w, b)", "y = Relu(c)"]),
    "clip attributes": (9, ["c = Conv(h, w, b)", "y = Clip<min=0.0, max=1.0>(c)"]),
    "clip inputs": (11, ["c = Conv(h, w, b)", "y = Clip(c, zero, one)"]),
    "clip from below": (13, ["c = Conv(h, w, b)", "y = Clip(c, zero)"]),
    "clip old default": (9, ["c = Conv(h, w, b)", "y = Clip<min=0.0>(c)"]),
    "max and min": (13, ["c = Conv(h, w, b)", "d = Max(zero, c)", "y = Min(d, one)"]),
    "add": (9, ["c = Conv<pads=[1, 1, 1, 1]>(h, again, b0)", "y = Add(c, h)"]),
    "add constant": (14, ["y = Add(per_channel, h0)"]),
    "sub constant": (14, ["y = Sub(h0, per_channel)"]),
    "sub from constant": (7 + 2, ["y = Sub(one, h0)"]),
    "mul and div": (9, ["m = Mul(h0, per_channel)", "y = Div(m, per_channel2)"]),
    "neg": (13, ["y = Neg(h0)"]),
    "sum": (9, ["c = Conv<pads=[1, 1, 1, 1]>(h, again, b0)", "y = Sum(c, h)"]),
    "sum of three": (
        13,
        [
            "c = Conv<pads=[1, 1, 1, 1]>(h, again, b0)",
            "d = Conv<pads=[1, 1, 1, 1]>(c, again)",
            "y = Sum(c, h, d)",
        ],
    ),
    "max pool": (9, ["y = MaxPool<kernel_shape=[2, 3], strides=[2, 3]>(h)"]),
    "max pool padded": (
        12,
        ["y = MaxPool<kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]>(h)"],
    ),
    "max pool whose last window would begin in padding": (
        13,
        ["y = MaxPool<kernel_shape=[2, 2], strides=[3, 4], ceil_mode=1>(h)"],
    ),
    "average pool": (9, ["y = AveragePool<kernel_shape=[2, 2], strides=[2, 2]>(h)"]),
    "average pool that counts": (
        11,
        ["y = AveragePool<kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1>(h)"],
    ),
    "average pool 22": (22, ['y = AveragePool<kernel_shape=[2, 2], auto_pad="VALID">(h)']),
    "average pool that does not count": (
        9,
        ["y = AveragePool<kernel_shape=[3, 3], pads=[1, 1, 1, 1]>(h)"],
    ),
    "average pool that does not count one side": (
        11,
        ["y = AveragePool<kernel_shape=[3, 2], pads=[0, 0, 2, 1], strides=[2, 1]>(h0)"],
    ),
    "average pool beyond the map": (
        19,
        ["y = AveragePool<kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1>(h)"],
    ),
    "average pool same": (
        11,
        ['y = AveragePool<kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER">(h)'],
    ),
    "transposed conv": (9, ["y = ConvTranspose<strides=[2, 2]>(h, up, b)"]),
    "transposed conv padded": (
        11,
        ["y = ConvTranspose<strides=[2, 2], pads=[1, 0, 1, 1], output_padding=[1, 0]>(h, up3)"],
    ),
    "transposed conv of a size": (
        13,
        ["y = ConvTranspose<strides=[2, 2], output_shape=[20, 24]>(h, up3, b)"],
    ),
    "transposed conv same": (
        13,
        ['y = ConvTranspose<strides=[2, 2], auto_pad="SAME_LOWER">(h, up3, b)'],
    ),
    "grouped transposed conv": (11, ["y = ConvTranspose<strides=[2, 2], group=2>(h, up_grouped)"]),
    "upsample": (9, ["u = Upsample(h, doubles)", "y = Conv(u, w)"]),
    "resize 10": (10, ["y = Resize(h, doubles)"]),
    "resize": (
        13,
        [
            (
                'y = Resize<coordinate_transformation_mode="asymmetric", nearest_mode="floor">'
                "(h, , triples)"
            )
        ],
    ),
    "resize by half pixels": (19, ["y = Resize(h, , triples)"]),
    "resize to a size": (
        15,
        [
            "s = Shape<start=0, end=2>(h0)",
            "t = Concat<axis=0>(s, sizes)",
            "y = Resize(h0, , , t)",
        ],
    ),
    "depth to space": (9, ["h8 = Conv(h, eight)", "y = DepthToSpace<blocksize=2>(h8)"]),
    "depth to space by columns": (
        13,
        ["h8 = Conv(h, eight)", 'y = DepthToSpace<blocksize=2, mode="CRD">(h8)'],
    ),
    "global average": (9, ["y = GlobalAveragePool(h)"]),
    "global max": (9, ["y = GlobalMaxPool(h)"]),
    "mean": (11, ["y = ReduceMean<axes=[2, 3], keepdims=0>(h)"]),
    "mean from the end": (13, ["y = ReduceMean<axes=[-1, -2]>(h)"]),
    "mean 18": (18, ["y = ReduceMean<keepdims=0>(h, height_width)"]),
    "largest": (18, ["y = ReduceMax(h, height_width)"]),
    "concat": (9, ["d = Conv<pads=[1, 1, 1, 1]>(h, w)", "y = Concat<axis=1>(h, d)"]),
    "squeeze": (9, ["g = GlobalAveragePool(h)", "y = Squeeze<axes=[2, 3]>(g)"]),
    "squeeze 13": (13, ["g = GlobalAveragePool(h)", "y = Squeeze(g, height_width)"]),
    "unsqueeze": (
        13,
        [
            "g = GlobalAveragePool(h)",
            "s = Squeeze(g, height_width)",
            "u = Unsqueeze(s, height_width)",
            "y = Conv(u, one_by_one)",
        ],
    ),
    "dropout": (9, ["f = Flatten(h)", "d = Dropout<ratio=0.25>(f)", "y = Gemm(d, fc, five)"]),
    "dropout 13": (13, ["f = Flatten(h)", "d = Dropout(f, quarter)", "y = Gemm(d, fc)"]),
    "identity": (9, ["i = Identity(h)", "y = Conv(i, w)"]),
    "cast": (13, ["i = Cast<to=1>(h)", "y = Conv(i, w)"]),
    "pad": (9, ["p = Pad<pads=[0, 0, 1, 2, 0, 0, 1, 2]>(h)", "y = Conv(p, w)"]),
    "pad inputs": (11, ["p = Pad(h, pads)", "y = Conv(p, w)"]),
    "pad with zeros": (11, ["p = Pad(h, pads, zero)", "y = Conv(p, w)"]),
    "pad axes": (19, ["p = Pad(h, two_pads, , axis_2)", "y = Conv(p, w)"]),
    "pad channels": (11, ["y = Pad(h, channel_pads)"]),
    "slice": (9, ["y = Slice<starts=[1], ends=[4], axes=[1]>(h)"]),
    "slice inputs": (10, ["y = Slice(h, axis_1, minus_one, axis_1)"]),
    "slice with steps": (13, ["y = Slice(h, starts, ends, height_width, steps)"]),
    "split": (11, ["p, q = Split<axis=1, split=[2, 4]>(h)", "y = Conv(q, split_w)"]),
    "split 13": (13, ["p, q = Split<axis=1>(h, parts)", "y = Concat<axis=1>(q, p)"]),
    "split 18": (18, ["p, q = Split<axis=1, num_outputs=2>(h)", "y = Add(p, q)"]),
    "softmax": (9, ["f = Flatten(h)", "l = Gemm(f, fc, five)", "y = Softmax(l)"]),
    "log softmax": (13, ["f = Flatten(h)", "l = Gemm(f, fc)", "y = LogSoftmax(l)"]),
    "sigmoid": (13, ["l = Conv(h, w)", "y = Sigmoid(l)"]),
    "transpose of a vector": (
        13,
        ["g = GlobalAveragePool(h)", "t = Transpose<perm=[0, 2, 3, 1]>(g)", "y = Flatten(t)"],
    ),
    "channel shuffle": (
        9,
        [
            "g = Reshape(h, two_groups)",
            "t = Transpose<perm=[0, 2, 1, 3, 4]>(g)",
            "u = Reshape(t, no_groups)",
            "y = Conv<group=2>(u, grouped)",
        ],
    ),
    "constant": (
        13,
        ["k = Constant<value_ints=[0, -1]>()", "f = Reshape(h, k)", "y = Gemm(f, fc, five)"],
    ),
    "arithmetic with shapes": (
        13,
        [
            "s = Shape(h)",
            "n = Gather<axis=0>(s, axis_0)",
            "t = Concat<axis=0>(n, minus_one)",
            "f = Reshape(h, t)",
            "y = Gemm(f, fc)",
        ],
    ),
    "part of a shape": (
        15,
        [
            "n = Shape<start=0, end=1>(h)",
            "t = Concat<axis=0>(n, minus_one)",
            "f = Reshape(h, t)",
            "y = Gemm(f, fc)",
        ],
    ),
    "computed weights": (13, ["v = Mul(w, one)", "u = Add(v, one)", "y = Conv(h, u)"]),
}
MORE: Arrays = {
    "grouped": array(4, 3, 3, 3),
    "up": array(6, 4, 2, 2) / 3,
    "up3": array(6, 4, 3, 3) / 3,
    "up_grouped": array(6, 2, 2, 2) / 3,
    "eight": array(8, 6, 1, 1),
    "doubles": np.array([1, 1, 2, 2], np.float32),
    "triples": np.array([1, 1, 1, 3], np.float32),
    "sizes": np.array([20, 24], np.int64),
    "depthwise": array(6, 1, 3, 3),
    "again": array(6, 6, 3, 3) / 5,
    "per_channel2": np.abs(array(6, 1, 1, seed=8)) + 0.5,
    "one_by_one": array(4, 6, 1, 1),
    "quarter": np.float32(0.25),
    "pads": np.array([0, 0, 1, 0, 0, 0, 1, 0], np.int64),
    "channel_pads": np.array([0, 1, 0, 0, 0, 2, 0, 0], np.int64),
    "two_pads": np.array([1, 1], np.int64),
    "axis_1": np.array([1], np.int64),
    "axis_2": np.array([2], np.int64),
    "starts": np.array([0, 0], np.int64),
    "ends": np.array([2**62, 2**62], np.int64),
    "steps": np.array([2, 2], np.int64),
    "split_w": array(4, 4, 3, 3),
    "two_groups": np.array([0, 2, 3, 10, 12], np.int64),
    "no_groups": np.array([0, -1, 10, 12], np.int64),
    "parts": np.array([2, 4], np.int64),
}


@pytest.mark.parametrize("case", OPERATORS)
def test_operators_compute_what_onnxruntime_does(case: str, tmp_path: Path) -> None:
    opset, lines = OPERATORS[case]
    checked(build(tmp_path / "m.onnx", HEAD + lines, opset, MORE))


@pytest.mark.parametrize(
    "line",
    [
        'y = Conv<auto_pad="SAME_UPPER", strides=[2, 2]>(h, w)',
        'y = Conv<auto_pad="SAME_LOWER", strides=[2, 3]>(h, w)',
        "y = Conv<pads=[0, 1, 2, 0]>(h, w)",
        'y = MaxPool<kernel_shape=[2, 2], auto_pad="SAME_UPPER">(h0)',
        'y = MaxPool<kernel_shape=[3, 3], auto_pad="SAME_LOWER", strides=[2, 2]>(h0)',
        "y = MaxPool<kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1>(h0)",
        "y = MaxPool<kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]>(h0)",
    ],
)
def test_padding_that_differs_between_two_sides(line: str, tmp_path: Path) -> None:
    """The imported network has it; whether the hardware has it is for lowering to say."""
    model = import_onnx(build(tmp_path / "m.onnx", [*HEAD, line]))
    images = torch.randn(2, *model.shape)
    torch.testing.assert_close(model.network().result(images), model(images), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("opset", [9, 11, 13, 18, NEWEST])
def test_files_of_all_opsets(opset: int, tmp_path: Path) -> None:
    lines = ["p = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(h)", "y = Conv(p, w, b)"]
    checked(build(tmp_path / "m.onnx", HEAD + lines, opset))


@pytest.mark.parametrize("images", [1, 2, 4])
def test_files_with_a_fixed_number_of_images(images: int, tmp_path: Path) -> None:
    fixed = {"shape": np.array([images, 720], np.int64)}
    lines = ["f = Reshape(h, shape)", "y = Gemm(f, fc, five)"]
    file = build(tmp_path / "m.onnx", HEAD + lines, 13, fixed, sizes=(images, 3, 10, 12))
    checked(file)


def test_the_size_of_images_may_be_given(tmp_path: Path) -> None:
    lines = [*HEAD, "y = Conv(h, w, b)"]
    file = build(tmp_path / "m.onnx", lines, sizes=("n", 3, "height", "width"))
    assert checked(file, (3, 9, 7)).shape == (3, 9, 7)
    with pytest.raises(UserError, match="leaves the size of its images open"):
        import_onnx(file)
    with pytest.raises(UserError, match=r"takes images of 3x\?x\?, not 4x9x7"):
        import_onnx(file, (4, 9, 7))


def test_images_whose_channels_are_last(tmp_path: Path) -> None:
    lines = ["t = Transpose<perm=[0, 3, 1, 2]>(x)", "h = Conv(t, w0, b0)", "y = Relu(h)"]
    model = checked(build(tmp_path / "m.onnx", lines, sizes=("n", 10, 12, 3)))
    assert model.shape == (3, 10, 12)
    lines += ["m = GlobalMaxPool(x)", "z = Add(m, y)"]
    with pytest.raises(UserError, match=r"m \(GlobalMaxPool\).*channels are last"):
        checked(build(tmp_path / "m.onnx", lines, sizes=("n", 10, 12, 3), outputs=["z"]))
    lines = ["i = Mul(x, one)", "t = Transpose<perm=[0, 3, 1, 2]>(i)", "y = Conv(t, w0)"]
    with pytest.raises(UserError, match=r"t \(Transpose\).*only a channel shuffle"):
        checked(build(tmp_path / "m.onnx", lines, sizes=("n", 10, 12, 3)))


def test_host_operations_are_left_out_and_named(tmp_path: Path) -> None:
    lines = [*HEAD, "f = Flatten(h)", "l = Gemm(f, fc)", "s = Softmax(l)", "y = ArgMax<axis=1>(s)"]
    model = checked(build(tmp_path / "m.onnx", lines))
    assert model.lower().on_host == ["softmax", "argmax"]
    assert model(torch.zeros(2, 3, 10, 12)).shape == (2, 5)


def test_several_outputs_are_compared_with_what_onnxruntime_returns(tmp_path: Path) -> None:
    lines = [*HEAD, "f = Flatten(h)", "l = Gemm(f, fc)", "s = Softmax(l)", "m = GlobalMaxPool(h0)"]
    model = import_onnx(build(tmp_path / "m.onnx", lines, outputs=["l", "m", "s", "h"]))
    images = torch.randn(3, *model.shape)
    graph = lower_checked(model, images)
    assert [output.shape for output in graph.outputs] == [(5,), (6, 1, 1), (5,), (6, 10, 12)]
    assert [[o.kind for o in output.on_host] for output in graph.outputs] == [
        [],
        [],
        ["softmax"],
        [],
    ]
    graph.outputs[2].on_host.clear()
    with pytest.raises(UserError, match="the lowered network differs"):
        check_equal(model, graph, images)


def test_a_softmax_of_old_opsets_goes_over_all_axes_behind_its_own(tmp_path: Path) -> None:
    for opset, axis in ((9, 1), (11, 2), (13, 1), (13, -1)):
        lines = [*HEAD, "c = Conv(h, w)", f"y = Softmax<axis={axis}>(c)"]
        checked_end(build(tmp_path / "m.onnx", lines, opset))


def checked_end(file: Path) -> None:
    """Check a file whose end is the host's."""
    model = import_onnx(file)
    lower_checked(model, torch.randn(3, *model.shape))


QUANTISED: Arrays = {
    "xs": np.float32(0.05),
    "xz": np.int8(3),
    "ws": np.abs(array(4)) / 50 + 0.01,
    "wz": np.zeros(4, np.int8),
    "wq": (array(4, 6, 3, 3) * 40).astype(np.int8),
    "us": np.float32(0.04),
    "uz": np.uint8(0),
    "s6": np.float32(6 / 255),
}
QDQ_HEAD = [
    "xq = QuantizeLinear(x, xs, xz)",
    "xd = DequantizeLinear(xq, xs, xz)",
    "h0 = Conv<pads=[1, 1, 1, 1]>(xd, w0, b0)",
]
QDQ_TAIL = [
    "wd = DequantizeLinear<axis=0>(wq, ws, wz)",
    "y = Conv(hd, wd, b)",
]


@pytest.mark.parametrize(
    ("scale", "zero", "relu", "ceiling"),
    [("us", "uz", True, float("inf")), ("s6", "uz", True, 6.0), ("xs", "xz", False, None)],
)
def test_the_float_graph_behind_a_qdq_model(
    scale: str, zero: str, relu: bool, ceiling: float | None, tmp_path: Path
) -> None:
    """A ReLU that the quantised range stands for is in the graph; the rounding is not."""
    by = f"{scale}, {zero}"
    lines = [f"hq = QuantizeLinear(h0, {by})", f"hd = DequantizeLinear(hq, {by})"]
    file = build(tmp_path / "m.onnx", QDQ_HEAD + lines + QDQ_TAIL, 13, QUANTISED)
    model = checked(file)
    first = model.lower().layers[0]
    assert isinstance(first, ConvLayer)
    assert first.relu is relu
    assert ceiling is None or first.ceiling == ceiling
    images = torch.randn(4, 3, 10, 12)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (quantised,) = session.run(None, {"x": images.numpy()})
    error = (model(images) - torch.from_numpy(quantised)).norm() / model(images).norm()
    assert 0 < float(error) < 0.05


class _Calibration(CalibrationDataReader):
    def __init__(self) -> None:
        self.batches = iter([{"x": torch.randn(4, *SHAPE).numpy()} for _ in range(4)])

    def get_next(self) -> Any:
        return next(self.batches, None)


class _Limited(nn.Sequential):
    """ReLU6 and ReLU, which onnxruntime's quantiser replaces by ranges."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(SHAPE[0], 8, 3, padding=1),
            nn.ReLU6(),
            nn.Conv2d(8, 8, 3, groups=8, padding=1),
            nn.ReLU6(),
            nn.Conv2d(8, 12, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(12, 7),
        )
        for parameter in self.parameters():
            parameter.data *= 10


@pytest.mark.parametrize("kind", [QuantType.QInt8, QuantType.QUInt8])
@pytest.mark.parametrize("build_module", [tiny_module, branches_module, _Limited])
def test_models_that_onnxruntime_quantises(
    build_module: Callable[[], nn.Module], kind: QuantType, tmp_path: Path
) -> None:
    """Every ReLU of the module comes back."""
    torch.manual_seed(3)
    module = build_module().eval()
    before = export(module, SHAPE, tmp_path / "float.onnx", 17)
    after = tmp_path / "quantised.onnx"
    quantize_static(
        before, after, _Calibration(), activation_type=kind, weight_type=QuantType.QInt8
    )
    model = import_onnx(after)
    graph = lower_checked(model, torch.randn(3, *SHAPE))
    limits = [
        [(layer.relu, layer.ceiling) for layer in g.layers if isinstance(layer, ConvLayer)]
        for g in (graph, lower(module, SHAPE))
    ]
    assert limits[0] == limits[1]


def test_limits_that_quantisation_stands_for_are_not_lost(tmp_path: Path) -> None:
    lines = ["hq = QuantizeLinear(h0, s1, z1)", "hd = DequantizeLinear(hq, s1, z1)"]
    limits = {"s1": np.float32(0.2 / 255), "z1": np.uint8(128)}
    file = build(tmp_path / "m.onnx", QDQ_HEAD + lines + QDQ_TAIL, 13, {**QUANTISED, **limits})
    model = import_onnx(file)
    with pytest.raises(UserError, match="import the model from before its quantisation"):
        lower_checked(model, torch.randn(2, *model.shape))


REFUSED: dict[str, tuple[list[str], str]] = {
    "gate": (["s = Sigmoid(h)", "y = Mul(h, s)"], r"y \(Mul\).*product of two tensors"),
    "quotient": (["y = Div(h, h0)"], "quotient of two tensors"),
    "constant divided": (["y = Div(one, h)"], "constant divided by a tensor"),
    "matmul": (["t = GlobalMaxPool(h)", "y = MatMul(t, t)"], "product of two tensors"),
    "gemm": (["t = Flatten(h)", "y = Gemm<transB=1>(t, t)"], "product of two tensors"),
    "leaky": (["y = LeakyRelu(h)"], r"y \(LeakyRelu\).*no zeros to skip"),
    "lrn": (["y = LRN<size=5>(h)"], "computed from each image"),
    "no counterpart": (["y = Sin(h)"], "no counterpart"),
    "bilinear": (['y = Resize<mode="linear">(h, , halves)'], "only nearest-neighbour upsampling"),
    "smaller": (["y = Resize(h, , halves)"], "only nearest-neighbour upsampling"),
    "aligned corners": (
        ['y = Resize<coordinate_transformation_mode="align_corners">(h, , doubled)'],
        "only nearest-neighbour upsampling",
    ),
    "dilated pooling": (["y = MaxPool<kernel_shape=[2, 2], dilations=[2, 2]>(h)"], "dilated"),
    "mean over channels": (["y = ReduceMean<axes=[1]>(h)"], "only a mean over height and width"),
    "concat of rows": (["y = Concat<axis=2>(h, h)"], "only channels can be concatenated"),
    "concat with constant": (["y = Concat<axis=1>(h, big)"], "constant where a tensor is needed"),
    "images together": (["y = Reshape(h, together)"], "only flattening each image"),
    "transpose": (["y = Transpose<perm=[0, 1, 3, 2]>(h)"], "only a channel shuffle"),
    "pad with ones": (["y = Pad(h, pads, one)"], "padding with zeros"),
    "reflected": (['y = Pad<mode="reflect">(h, pads)'], "padding with zeros"),
    "backwards": (["y = Slice(h, minus_one, axis_0, axis_1, minus_one)"], "backwards"),
    "slice of images": (["y = Slice(h, axis_0, axis_1, axis_0)"], "each image by itself"),
    "split of images": (["y, z = Split<axis=0>(h)"], "each image by itself"),
    "within a channel": (["y = Add(h, big1)"], "differs within a channel"),
    "other size": (["p = GlobalMaxPool(h)", "y = Add(h, p)"], "differ in size"),
    "difference": (["y = Sub(h, h0)"], "difference of two tensors"),
    "softmax inside": (["s = Softmax(h)", "y = Conv(s, w)"], "last operation"),
    "training": (
        ["y, m, v = BatchNormalization<training_mode=1>(h, gain, b0, mean, variance)"],
        "training mode",
    ),
    "computed weights": (["g = GlobalMaxPool(w)", "y = Conv(h, h0)"], "computed from the images"),
    "integers": (["y = Cast<to=6>(h)"], "float32"),
    "random": (["r = RandomNormal<shape=[6, 1, 1]>()", "y = Add(h, r)"], "r .RandomNormal."),
    "constant output": (["y = Neg(w)"], "does not depend on its images"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_the_node_and_the_reason(case: str, tmp_path: Path) -> None:
    lines, reason = REFUSED[case]
    more = {
        **MORE,
        "big": array(2, 1, 10, 12),
        "big1": array(1, 6, 10, 12),
        "together": np.array([-1, 6], np.int64),
        "halves": np.array([1, 1, 1.5, 1.5], np.float32),
        "doubled": np.array([1, 1, 2, 2], np.float32),
    }
    file = build(tmp_path / "m.onnx", HEAD + lines, 15, more)
    with pytest.raises(UserError, match=reason):
        import_onnx(file).lower()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    with pytest.raises(UserError, match=r"m\.onnx: not found"):
        import_onnx(file)
    file.write_bytes(b"no model")
    with pytest.raises(UserError, match="no valid ONNX model"):
        import_onnx(file)
    with pytest.raises(UserError, match="opset is 8"):
        import_onnx(build(file, [*HEAD, "y = Relu(h)"], 8))
    with pytest.raises(UserError, match="its input has 2 axes"):
        import_onnx(build(file, ["y = Relu(x)"], sizes=("n", 3)))
    with pytest.raises(UserError, match="output k does not depend on its images"):
        import_onnx(build(file, [*HEAD, "k = Add(one, one)"], outputs=["h", "k"]))
    other = onnx.load(build(file, [*HEAD, "y = Relu(h)"]))
    other.graph.node[-1].domain = "my.company"
    other.opset_import.append(helper.make_opsetid("my.company", 1))
    onnx.save(other, file)
    with pytest.raises(UserError, match=r"y \(Relu\).*operators of my.company are not known"):
        import_onnx(file)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "quant.frontend.onnx.model", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"needs the package onnxruntime: pip install"):
        import_onnx(tmp_path / "m.onnx")


def test_a_difference_is_named(tmp_path: Path) -> None:
    lines = [*HEAD, "c = Conv(h, w, b)", "r = Relu(c)", "y = GlobalAveragePool(r)"]
    model = import_onnx(build(tmp_path / "m.onnx", lines))
    images = torch.randn(2, *model.shape)
    graph = model.lower()
    check_equal(model, graph, images)
    layer = graph.layer("c")
    assert isinstance(layer, ConvLayer)
    layer.bias += 0.5
    with pytest.raises(UserError, match=r"^c: the lowered network differs"):
        check_equal(model, graph, images)


def test_a_fault_of_the_import_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The values come from onnxruntime, not from what the import has made of the file."""
    lines = [*HEAD, "c = Conv(h, w, b)", "y = GlobalAveragePool(c)"]
    model = import_onnx(build(tmp_path / "m.onnx", lines))
    operation: Any = model._network.operation("c")
    monkeypatch.setattr(operation, "weight", operation.weight.flip(3))
    with pytest.raises(UserError, match=r"^c: the lowered network differs"):
        lower_checked(model, torch.randn(2, *model.shape))


def test_models_can_be_copied(tmp_path: Path) -> None:
    model = import_onnx(build(tmp_path / "m.onnx", [*HEAD, "y = Conv(h, w)"]))
    images = torch.randn(2, *model.shape)
    expected = model(images)
    torch.testing.assert_close(copy.deepcopy(model)(images), expected)


def export(module: nn.Module, shape: tuple[int, int, int], file: Path, opset: int) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.zeros(1, *shape),),
            file,
            dynamo=False,
            opset_version=opset,
            input_names=["x"],
            dynamic_axes={"x": {0: "n"}},
        )
    return file


@pytest.mark.parametrize("opset", [10, 17])
@pytest.mark.parametrize("name", ["digits", "resnet20", "tiny", "branches"])
def test_networks_that_pytorch_exports(name: str, opset: int, tmp_path: Path) -> None:
    """They become the same layers as the module itself."""
    torch.manual_seed(1)
    if name in MODELS:
        module = MODELS[name].build(10)
        randomise_batch_norms(module)
        shape = (1, 16, 16) if name == "digits" else (3, 32, 32)
    else:
        module, shape = (tiny_module() if name == "tiny" else branches_module()), SHAPE
    module.eval()
    model = import_onnx(export(module, shape, tmp_path / "m.onnx", opset))
    images = torch.randn(3, *shape)
    graph = lower_checked(model, images)
    with torch.no_grad():
        torch.testing.assert_close(model(images), module(images), rtol=1e-3, atol=1e-3)
    of_module = lower(module, shape)
    kinds = [[type(layer).__name__ for layer in g.layers] for g in (graph, of_module)]
    assert kinds[0] == kinds[1]
    sites = [[site.weight.shape for site in g.zap_sites()] for g in (graph, of_module)]
    assert sites[0] == sites[1]
    with pytest.raises(UserError, match="the network takes images of"):
        lower(model, (2, *shape[1:]))


LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def test_a_light_model_of_the_onnx_package() -> None:
    model = import_onnx(LIGHT / "light_squeezenet.onnx")
    graph = lower_checked(model, torch.randn(1, *model.shape))
    assert len(graph.zap_sites()) == 25
    assert graph.on_host == ["softmax"]


@pytest.mark.second
@pytest.mark.parametrize("name", ["densenet121", "inception_v2", "resnet50", "shufflenet", "vgg19"])
def test_light_models_of_the_onnx_package(name: str) -> None:
    model = import_onnx(LIGHT / f"light_{name}.onnx")
    lower_checked(model, torch.randn(1, *model.shape))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bvlc_alexnet", r"\(LRN\).*computed from each image"),
        ("inception_v1", r"\(LRN\).*computed from each image"),
        ("zfnet512", r"\(LRN\).*computed from each image"),
    ],
)
def test_light_models_that_are_refused(name: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        import_onnx(LIGHT / f"light_{name}.onnx")


def test_functions_of_a_file_are_followed(tmp_path: Path) -> None:
    """PyTorch's newer exporter writes such files."""
    file = build(tmp_path / "m.onnx", [*HEAD, "c = Conv(h, w, b)", "y = Relu(c)"])
    model = onnx.load(file)
    nodes = [onnx.parser.parse_node("out = Relu(a)")]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("own", "Limit", ["a"], ["out"], nodes, opsets))
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node[-1].domain, model.graph.node[-1].op_type = "own", "Limit"
    onnx.save(model, file)
    assert checked(file).lower().zap_sites()


def test_weights_may_lie_in_a_file_of_their_own(tmp_path: Path) -> None:
    file = build(tmp_path / "m.onnx", [*HEAD, "y = Conv(h, w, b)"])
    model = onnx.load(file)
    onnx.save(model, file, save_as_external_data=True, location="weights", size_threshold=0)
    assert (tmp_path / "weights").exists()
    checked(file)
    (tmp_path / "weights").unlink()
    with pytest.raises(UserError, match=r"m\.onnx"):
        import_onnx(file)

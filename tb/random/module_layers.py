"""The kinds of layers that random PyTorch networks are made of.

`LAYERS` has one entry for everything that the front end lowers. An entry writes a layer in one of
the manners in which people write it: as a module or as a function, in place or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tb.random.written_module import Value, WrittenModule, joined

__all__ = ["LAYERS", "LayerKind", "classifier", "on_host"]

_MOST_PIXELS = 400
"""Elements of a map that a linear layer may read, so that programs stay small."""
_MOST_CHANNELS = 24
_MOST_UPSAMPLED = 60
"""Pixels of a map that may be made larger."""


@dataclass(frozen=True)
class LayerKind:
    """A kind of layer.

    Parameters
    ----------
    name : str
    write : function of a WrittenModule
        Writes one such layer; raises ValueError or what PyTorch raises where that is impossible.
    functions : str
        The functions of PyTorch (ATen) whose handlers it reaches, now and then.
    weight : int
        The share of the layers that are of this kind.
    """

    name: str
    write: Callable[[WrittenModule], None]
    functions: str
    weight: int = 2


LAYERS: list[LayerKind] = []


def _layer(functions: str, weight: int = 2) -> Callable[..., Callable[[WrittenModule], None]]:
    """Put the decorated function into `LAYERS`."""

    def register(write: Callable[[WrittenModule], None]) -> Callable[[WrittenModule], None]:
        LAYERS.append(LayerKind(write.__name__, write, functions, weight))
        return write

    return register


def _source(w: WrittenModule) -> Value:
    """A map to go on from: mostly the last one."""
    maps = w.maps()
    if not maps:
        raise ValueError("no map")
    return maps[-1] if w.rng.random() < 0.75 else w.rng.choice(maps)


def _vector_or_map(w: WrittenModule) -> Value:
    """Any tensor: mostly the last one."""
    if len(w.current.shape) == 1 and w.rng.random() < 0.7:
        return w.current
    return _source(w)


def _call(w: WrittenModule, kind: str, module: str, value: Value, *, reuse: bool = False) -> Value:
    """Make a module and call it."""
    made = w.make(kind, module)
    if reuse:
        w.reusable.append(made)
    return w.step(f"{made}({value.name})", value)


@_layer("conv2d", 9)
def convolution(w: WrittenModule) -> None:
    value = _source(w)
    channels = value.shape[0]
    kernel = (w.rng.choice((1, 1, 2, 3, 3, 3, 4, 5)), w.rng.choice((1, 2, 3, 3, 5)))
    if w.rng.random() < 0.7:
        kernel = kernel[0], kernel[0]
    stride = w.rng.choice(((1, 1), (1, 1), (1, 1), (2, 2), (2, 2), (1, 2), (3, 1)))
    dilation = w.rng.choice(((1, 1), (1, 1), (1, 1), (2, 2), (1, 2), (3, 1)))
    groups = w.rng.choice((1, 1, channels, *(n for n in (2, 3, 4) if channels % n == 0)))
    c_o = groups * w.rng.randint(1, max(1, min(12 // groups, 12)))
    padding: object = w.rng.choice(
        ((kernel[0] // 2, kernel[1] // 2), 0, 1, (1, 0), (kernel[0] + 1, 2), "'same'", "'valid'")
    )
    if padding == "'same'":
        stride = 1, 1
    options = f"stride={stride}, padding={padding}, dilation={dilation}, groups={groups}"
    bias = w.rng.random() < 0.6
    if w.rng.random() < 0.7:
        made = f"nn.Conv2d({channels}, {c_o}, {kernel}, {options}, bias={bias})"
        _call(w, "conv", made, value, reuse=True)
        return
    fan = channels // groups * kernel[0] * kernel[1]
    weight = w.parameter("weight", c_o, channels // groups, *kernel, gain=1.4 / fan**0.5)
    added = w.parameter("bias", c_o, gain=0.2) if bias else "None"
    w.step(f"F.conv2d({value.name}, {weight}, {added}, {options})", value)


@_layer("batch_norm", 4)
def batch_norm(w: WrittenModule) -> None:
    value = _vector_or_map(w)
    channels = value.shape[0]
    axes = 2 if len(value.shape) == 3 else 1
    if w.rng.random() < 0.8:
        affine = w.rng.random() < 0.8
        _call(w, "bn", f"nn.BatchNorm{axes}d({channels}, affine={affine})", value, reuse=True)
        return
    mean = w.make("mean", f"nn.Buffer(0.3 * torch.randn({channels}))")
    variance = w.make("variance", f"nn.Buffer(0.5 + torch.rand({channels}))")
    gain, offset = (w.parameter(kind, channels, gain=0.5) for kind in ("gain", "offset"))
    w.step(f"F.batch_norm({value.name}, {mean}, {variance}, {gain}, {offset})", value)


@_layer("relu relu6 hardtanh clamp clamp_min clip threshold maximum minimum", 9)
def rectifier(w: WrittenModule) -> None:
    value = _vector_or_map(w)
    name, high = value.name, w.rng.choice((0.5, 1, 1.5, 6.0))
    in_place = w.can_change(value) and w.rng.random() < 0.4
    module = w.rng.choice(("nn.ReLU", "nn.ReLU", "nn.ReLU6", f"nn.Hardtanh(0, {high}"))
    written = w.rng.randrange(4)
    if written == 0:
        module += ", " if "(" in module else "("
        _call(w, "relu", f"{module}inplace={in_place})", value, reuse=not in_place)
    elif written == 1:
        function = w.rng.choice((
            f"F.relu({name}", f"F.relu6({name}", f"F.hardtanh({name}, 0, {high}",
        ))  # fmt: skip
        w.step(f"{function}, inplace={in_place})", value)
    elif in_place:
        line = w.rng.choice((
            f"{name}.relu_()", f"F.relu_({name})", f"{name}.clamp_(0, {high})",
            f"{name}.clamp_(min=0)", f"{name}.clamp_min_(0)",
        ))  # fmt: skip
        w.statement(line, name, value)
    else:
        w.step(
            w.rng.choice((
                f"{name}.relu()", f"torch.relu({name})", f"{name}.clamp(min=0)",
                f"torch.clamp({name}, 0, {high})", f"torch.clamp({name}, min=0.0, max={high})",
                f"{name}.clamp_min(0)", f"{name}.clip(0, {high})", f"F.threshold({name}, 0, 0)",
                f"torch.maximum({name}, torch.tensor(0.0))",
                f"torch.minimum({name}.relu(), torch.tensor({float(high)}))",
            )),
            value,
        )  # fmt: skip


def _window(w: WrittenModule) -> tuple[object, object, object]:
    """The kernel, stride and padding of a pooling."""
    kernel = w.rng.choice(((2, 2), (2, 2), (3, 3), (3, 3), (1, 2), (3, 2), (2, 4), (4, 4)))
    stride = w.rng.choice((None, (2, 2), (2, 2), (1, 1), (3, 2)))
    padding = w.rng.choice((0, 0, (kernel[0] // 2, kernel[1] // 2), (0, kernel[1] // 2)))
    return kernel, stride, padding


@_layer("max_pool2d")
def max_pooling(w: WrittenModule) -> None:
    value = _source(w)
    kernel, stride, padding = _window(w)
    ceil_mode = w.rng.random() < 0.4
    options = f"{kernel}, stride={stride}, padding={padding}, ceil_mode={ceil_mode}"
    if w.rng.random() < 0.5:
        _call(w, "pool", f"nn.MaxPool2d({options})", value, reuse=True)
    else:
        w.step(f"F.max_pool2d({value.name}, {options})", value)


@_layer("avg_pool2d")
def average_pooling(w: WrittenModule) -> None:
    value = _source(w)
    kernel, stride, padding = _window(w)
    options = f"{kernel}, stride={stride}, padding={padding}"
    options += w.rng.choice(
        ("", ", ceil_mode=True", ", count_include_pad=False", ", divisor_override=3")
    )
    if w.rng.random() < 0.5:
        _call(w, "pool", f"nn.AvgPool2d({options})", value, reuse=True)
    else:
        w.step(f"F.avg_pool2d({value.name}, {options})", value)


@_layer("adaptive_avg_pool2d adaptive_max_pool2d")
def adaptive_pooling(w: WrittenModule) -> None:
    value = _source(w)
    height, width = (
        w.rng.choice((w.rng.randint(1, size), *_divisors(size))) for size in value.shape[1:]
    )
    kind, function = w.rng.choice((("Avg", "avg"), ("Max", "max")))
    if w.rng.random() < 0.5:
        _call(w, "pool", f"nn.Adaptive{kind}Pool2d(({height}, {width}))", value)
    else:
        w.step(f"F.adaptive_{function}_pool2d({value.name}, ({height}, {width}))", value)


@_layer("mean amax", 1)
def over_the_map(w: WrittenModule) -> None:
    value = _source(w)
    name = value.name
    w.step(
        w.rng.choice((
            f"{name}.mean((2, 3))", f"torch.mean({name}, dim=(-1, -2))", f"{name}.mean([3, 2])",
            f"{name}.mean((2, 3), keepdim=True)", f"{name}.amax((2, 3))",
        )),
        value,
    )  # fmt: skip


def _beside(w: WrittenModule, value: Value) -> Value:
    """Another map of the same shape: one that is there, or what a convolution makes of one."""
    fitting = [v for v in w.maps(images=False) if v.shape == value.shape and v != value]
    if fitting and w.rng.random() < 0.7:
        return next((v for v in fitting if v.name in w.unread), w.rng.choice(fitting))
    channels, height, width = value.shape
    sources = [v for v in w.maps() if v.shape[1:] == (height, width)]
    source = w.rng.choice(sources)
    made = w.make("conv", f"nn.Conv2d({source.shape[0]}, {channels}, 3, padding=1)")
    return w.step(f"{made}({source.name})", source)


@_layer("add", 4)
def addition(w: WrittenModule) -> None:
    value = _source(w)
    other = value if w.rng.random() < 0.1 else _beside(w, value)
    a, b = value.name, other.name
    if w.rng.random() < 0.3:
        a, b = b, a
    written = w.rng.randrange(5)
    if written < 2 and w.can_change(value):
        a, b = value.name, other.name
        w.statement(w.rng.choice((f"{a} += {b}", f"{a}.add_({b})")), a, value, other)
    elif written == 2:
        third = _beside(w, value)
        w.step(f"sum(({a}, {b}, {third.name}))", value, other, third)
    else:
        w.step(w.rng.choice((f"{a} + {b}", f"torch.add({a}, {b})")), value, other)


@_layer("add pad slice", 1)
def shortcut_without_parameters(w: WrittenModule) -> None:
    """He et al., section 3.3, option A."""
    value = _source(w)
    channels = value.shape[0]
    more = w.rng.randint(0, 6)
    made = w.make("conv", f"nn.Conv2d({channels}, {channels + more}, 3, stride=2, padding=1)")
    other = w.step(f"{made}({value.name})", value)
    before = w.rng.randint(0, more)
    picked = f"{value.name}[:, :, ::2, ::2]"
    w.step(
        w.rng.choice((
            f"{other.name} + F.pad({picked}, (0, 0, 0, 0, {before}, {more - before}))",
            f"F.pad({picked}, (0, 0, 0, 0, {before}, {more - before})) + {other.name}",
        )),
        value, other,
    )  # fmt: skip


@_layer("cat concat concatenate", 4)
def concatenation(w: WrittenModule) -> None:
    value = _vector_or_map(w)
    fitting = [
        v for v in w.values
        if v != value and not v.is_input and len(v.shape) == len(value.shape)
        and v.shape[1:] == value.shape[1:]
    ]  # fmt: skip
    others = w.rng.sample(fitting, min(len(fitting), w.rng.randint(1, 2)))
    if not others:
        if len(value.shape) == 1:
            raise ValueError("one vector")
        made = w.make("conv", f"nn.Conv2d({value.shape[0]}, {w.rng.randint(1, 8)}, 3, padding=1)")
        others = [w.step(f"{made}({value.name})", value)]
    parts = [value, *others]
    w.rng.shuffle(parts)
    if sum(v.shape[0] for v in parts) > _MOST_CHANNELS:
        raise ValueError("too many channels")
    names = ", ".join(v.name for v in parts)
    w.step(
        w.rng.choice((
            f"torch.cat([{names}], 1)", f"torch.cat(({names}), dim=1)",
            f"torch.cat([{names}], axis=1)", f"torch.concat([{names}], dim=1)",
            f"torch.concatenate([{names}], 1)",
        )),
        *parts,
    )  # fmt: skip


@_layer("channel_shuffle view transpose permute clone", 2)
def channel_shuffle(w: WrittenModule) -> None:
    value = _source(w)
    channels, height, width = value.shape
    groups = w.rng.choice(_divisors(channels)[1:] or [1])
    name, split = value.name, f"{groups}, {channels // groups}, {height}, {width}"
    written = w.rng.randrange(4)
    if written == 0:
        _call(w, "shuffle", f"nn.ChannelShuffle({groups})", value)
        return
    w.hidden(f"batch = {name}.size(0)")
    w.step(
        (
            f"F.channel_shuffle({name}, {groups})",
            f"{name}.reshape(batch, {split}).transpose(1, 2).reshape(batch, -1, {height}, {width})",
            (
                f"{name}.reshape(batch, {split}).permute(0, 2, 1, 3, 4).contiguous()"
                f".view(batch, {channels}, {height}, {width})"
            ),
        )[written - 1],
        value,
    )  # fmt: skip


@_layer("slice split split_with_sizes", 2)
def part_of_channels(w: WrittenModule) -> None:
    value = _source(w)
    channels, name = value.shape[0], value.name
    if channels < 2:
        raise ValueError("one channel")
    first = w.rng.randint(1, channels - 1)
    if w.rng.random() < 0.5:
        start, stop = sorted(w.rng.sample(range(channels + 1), 2))
        w.step(
            w.rng.choice((
                f"{name}[:, {start}:{stop}]", f"{name}[:, :{first}]", f"{name}[:, {first}:]",
                f"{name}[:, ::2]", f"{name}[:, {first - 1}::3]", f"{name}[:, :-1, ...]",
                f"{name}.narrow(1, {start}, {stop - start})",
            )),
            value)  # fmt: skip
        return
    parts = w.rng.choice((
        f"{name}.chunk(2, 1)", f"torch.chunk({name}, 2, dim=1)",
        f"{name}.split([{first}, {channels - first}], dim=1)",
        f"torch.split({name}, {(channels + 1) // 2}, 1)",
    ))  # fmt: skip
    w.hidden(f"parts = {parts}")
    w.step("parts[0]", value)
    w.step("parts[1]", value)


@_layer("slice", 1)
def subsampling(w: WrittenModule) -> None:
    value = _source(w)
    step = w.rng.choice(("::2, ::2", "::2, :", ":, ::3", "::2"))
    w.step(f"{value.name}[:, :, {step}]", value)


@_layer("pad", 2)
def padding(w: WrittenModule) -> None:
    value = _source(w)
    left, right, top, bottom = (w.rng.choice((0, 0, 1, 1, 2, 3)) for _ in range(4))
    sides = joined((left, right, top, bottom))
    if w.rng.random() < 0.5:
        made = w.rng.choice((f"nn.ZeroPad2d(({sides}))", f"nn.ConstantPad2d(({sides}), 0.0)"))
        _call(w, "pad", made, value)
    elif value.is_input or w.rng.random() < 0.7:
        w.step(f"F.pad({value.name}, ({sides}))", value)
    else:
        w.step(
            f"F.pad({value.name}, ({sides}, {w.rng.randint(0, 3)}, {w.rng.randint(0, 3)}))", value
        )


@_layer("add sub rsub mul div neg", 3)
def arithmetic(w: WrittenModule) -> None:
    value = _vector_or_map(w)
    name, channels = value.name, value.shape[0]
    a, b = round(w.rng.uniform(0.4, 1.6), 2), round(w.rng.uniform(-0.5, 0.5), 2)
    written = w.rng.randrange(3)
    if written == 0:
        kept = w.parameter("constant", channels, *(1,) * (len(value.shape) - 1), gain=0.7)
        w.step(f"{name} {w.rng.choice('+-*')} {kept}", value)
    elif written == 1 and w.can_change(value):
        line = w.rng.choice((
            f"{name} *= {a}", f"{name} += {b}", f"{name}.sub_({b})", f"{name}.div_({a})",
            f"{name}.neg_()",
        ))  # fmt: skip
        w.statement(line, name, value)
    else:
        w.step(
            w.rng.choice((
                f"{name} * {a} + {b}", f"{a} * {name}", f"{b} + {name}", f"{name} - {b}",
                f"{b} - {name}", f"{name} / {a}", f"-{name}", f"torch.rsub({name}, {b})",
                f"torch.mul({name}, {a})", f"torch.add({name}, {b}, alpha=2)",
                f"torch.sub({name}, {a})",
            )),
            value,
        )  # fmt: skip


@_layer("upsample_nearest2d pixel_shuffle conv_transpose2d", 3)
def larger_map(w: WrittenModule) -> None:
    value = _source(w)
    name, (channels, height, width) = value.name, value.shape
    if height * width > _MOST_UPSAMPLED:
        raise ValueError("too large")
    vertical, horizontal = w.rng.choice(((2, 2), (2, 2), (3, 1), (1, 2)))
    written = w.rng.randrange(5)
    if written == 0:
        factor = w.rng.choice(("2", f"({vertical}.0, {horizontal}.0)"))
        made = f"nn.Upsample(scale_factor={factor})"
        _call(w, "up", made, value, reuse=True)
    elif written == 1:
        mode = w.rng.choice(("nearest", "nearest-exact"))
        size = f"size=({height * vertical}, {width * horizontal}), mode='{mode}'"
        w.step(f"F.interpolate({name}, {size})", value)
    elif written == 2 and channels % 4 == 0:
        _call(w, "shuffle", "nn.PixelShuffle(2)", value)
    else:
        kernel = w.rng.choice((2, 2, 3, 4))
        groups = w.rng.choice((1, 1, channels))
        padding = w.rng.choice((0, 0, 1))
        after = w.rng.choice((0, 0, 1))
        options = f"stride=2, padding={padding}, output_padding={after}, groups={groups}"
        c_o = groups * w.rng.randint(1, max(1, 8 // groups))
        if w.rng.random() < 0.7:
            made = f"nn.ConvTranspose2d({channels}, {c_o}, {kernel}, {options})"
            _call(w, "up", made, value, reuse=True)
        else:
            gain = 1 / (channels / groups) ** 0.5
            weight = w.parameter("weight", channels, c_o // groups, kernel, kernel, gain=gain)
            w.step(f"F.conv_transpose2d({name}, {weight}, None, {options})", value)


@_layer("dropout", 1)
def dropout(w: WrittenModule) -> None:
    value = _vector_or_map(w)
    module = "nn.Dropout2d" if len(value.shape) == 3 and w.rng.random() < 0.5 else "nn.Dropout"
    if w.rng.random() < 0.6:
        in_place = w.can_change(value) and w.rng.random() < 0.3
        _call(w, "drop", f"{module}(0.3, inplace={in_place})", value)
    else:
        w.step(f"F.dropout({value.name}, 0.2, training=self.training)", value)


@_layer("clone alias detach contiguous", 1)
def another_name(w: WrittenModule) -> None:
    value = _vector_or_map(w)
    name = value.name
    if w.rng.random() < 0.3:
        _call(w, "same", "nn.Identity()", value)
        return
    written = w.rng.choice((f"{name}.clone()", f"{name}.contiguous()", f"{name}.detach()", name))
    w.step(written, value)


@_layer("", 3)
def module_again(w: WrittenModule) -> None:
    """Call a module a second time, on another tensor or on its own result."""
    made = w.rng.choice(w.reusable)
    value = _vector_or_map(w)
    w.step(f"{made}({value.name})", value)


@_layer("flatten reshape view", 1)
def flattening(w: WrittenModule) -> None:
    value = _source(w)
    elements = value.shape[0] * value.shape[1] * value.shape[2]
    if elements > _MOST_PIXELS:
        raise ValueError("too large")
    flat = _flattened(w, value)
    c_o = w.rng.randint(2, 12)
    _call(w, "fc", f"nn.Linear({elements}, {c_o}, bias={w.rng.random() < 0.7})", flat)
    if value.shape[1:] != (1, 1):
        w.values.remove(flat)  # a map of more than one pixel is lowered only into a linear layer


def _flattened(w: WrittenModule, value: Value) -> Value:
    name = value.name
    if w.rng.random() < 0.25:
        return _call(w, "flatten", "nn.Flatten()", value)
    return w.step(
        w.rng.choice((
            f"torch.flatten({name}, 1)", f"{name}.flatten(1)", f"{name}.flatten(start_dim=1)",
            f"{name}.reshape({name}.size(0), -1)", f"{name}.reshape({name}.shape[0], -1)",
            f"{name}.contiguous().view({name}.size(0), -1)",
        )),
        value)  # fmt: skip


@_layer("linear", 3)
def linear(w: WrittenModule) -> None:
    value = w.current
    if len(value.shape) != 1:
        raise ValueError("no vector")
    c_o = w.rng.randint(2, 12)
    if w.rng.random() < 0.7:
        _call(w, "fc", f"nn.Linear({value.shape[0]}, {c_o})", value, reuse=True)
    else:
        weight = w.parameter("weight", c_o, value.shape[0], gain=1.4 / value.shape[0] ** 0.5)
        w.step(f"F.linear({value.name}, {weight})", value)


@_layer("squeeze unsqueeze", 1)
def vector_and_map(w: WrittenModule) -> None:
    """A map of one pixel as a vector, and back."""
    value = w.current
    name = value.name
    if len(value.shape) == 1:
        w.step(
            w.rng.choice((
                f"{name}.unsqueeze(-1).unsqueeze(-1)", f"{name}[:, :, None, None]",
                f"{name}.reshape(-1, {value.shape[0]}, 1, 1)",
            )),
            value)  # fmt: skip
    elif value.shape[1:] == (1, 1):
        w.step(
            w.rng.choice((
                f"{name}.squeeze(3).squeeze(2)", f"{name}.squeeze(-1).squeeze(-1)",
                f"torch.squeeze({name}, (2, 3))",
            )),
            value)  # fmt: skip
    else:
        raise ValueError("neither a vector nor one pixel")


def classifier(w: WrittenModule) -> None:
    """Write the network's end, which reads all that nothing has read yet: numbers, or a map."""
    if len(w.current.shape) == 3 and w.rng.random() < 0.1:
        made = f"nn.Conv2d({w.current.shape[0]}, {w.rng.randint(1, 6)}, 1)"
        w.returned = _call(w, "head", made, w.current).name
        return
    loose = [v for v in w.values if v.name in w.unread and not v.is_input and v != w.current]
    ends = [*loose[-3:], w.current]
    vectors = []
    for value in ends:
        vector = value
        if len(value.shape) == 3:
            pooled = w.rng.random() < 0.5 or value.shape[0] * value.shape[1] * value.shape[2] > 150
            if pooled:
                vector = w.step(f"F.adaptive_avg_pool2d({value.name}, 1)", value)
            elif len(ends) > 1:
                conv = f"nn.Conv2d({value.shape[0]}, {w.rng.randint(2, 8)}, {value.shape[1:]})"
                vector = _call(w, "conv", conv, value)
            vector = _flattened(w, vector)
        vectors.append(vector)
    last = vectors[-1]
    if len(vectors) > 1:
        last = w.step(f"torch.cat([{', '.join(v.name for v in vectors)}], 1)", *vectors)
    if w.rng.random() < 0.85 or len(vectors) == 1:
        last = _call(w, "head", f"nn.Linear({last.shape[0]}, {w.rng.randint(2, 10)})", last)
    w.returned = last.name


@_layer("softmax log_softmax sigmoid argmax", 0)
def on_host(w: WrittenModule) -> None:
    """Write what the host computes from the network's results; `LAYERS` has it for its name."""
    name = w.returned
    w.returned = w.rng.choice((
        f"torch.softmax({name}, 1)", f"F.softmax({name}, dim=-1)", f"{name}.log_softmax(1)",
        f"torch.sigmoid({name})", f"{name}.sigmoid()", f"{name}.argmax(1)",
    ))  # fmt: skip


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def names_of(kinds: Iterable[LayerKind]) -> set[str]:
    """The functions of PyTorch that some kinds of layers reach."""
    return {function for kind in kinds for function in kind.functions.split()}

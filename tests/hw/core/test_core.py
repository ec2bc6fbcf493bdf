"""The core in a memory on real simulators: random networks, and faults that leave no trace."""

from __future__ import annotations

import itertools
import json
import math
import random
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compiler.build import compile_bundle
from golden.bundle import Bundle
from golden.errors import UserError
from golden.manifest import (
    SCHEMA_VERSION,
    Activation,
    ConvNode,
    Input,
    LayerChoice,
    Manifest,
    OperatingPoint,
    PredictorNode,
)
from hw.contract.config import PRESETS
from hw.contract.counters import CORE_COUNTERS
from hw.contract.program import DESCRIPTOR_BYTES, descriptor_words
from hw.core.core import patience
from tb import sim_full
from tb.exchange.core_files import Outcome, Run
from tb.random.draws import Draw, draw_conv, draw_predictor
from tb.random.networks import random_image, random_network, random_runs
from tb.random.programs import damaged_runs, edited, first_descriptor
from tb.random.zaps import POINT
from tb.runs import core, whole_networks
from tb.simulators.toolchain import SIMULATORS, Simulator
from tests.hw.core.scenarios import bad_programs
from tests.hw.small_configs import STRIPS, TINY

EVERYWHERE = (0, 0xFFFF_FFFF)
"""The range of all addresses."""


def mismatches(bundle: Bundle, run: Run, outcome: Outcome) -> list[str]:
    checks = core.check(bundle, run, outcome)
    return [check.mismatch for check in checks if check.mismatch is not None]


@pytest.mark.sim
@pytest.mark.parametrize(
    ("simulator", "count", "seed", "positions"),
    [
        *(("icarus", 3, 2, 1), ("verilator", 40, 1, 1)),
        *(("icarus", 1, 6, 2), ("verilator", 25, 5, 2)),
        pytest.param("verilator", 25, 6, 4, marks=pytest.mark.second),
    ],
)
def test_random_networks_are_bit_exact(
    simulator: Simulator, count: int, seed: int, positions: int
) -> None:
    config = replace(STRIPS, predictor_positions=positions)
    pairs = random_runs(config, count, seed=seed)
    tiles = [layer.tiles[run.point] for _, run in pairs for layer in run.program.layers]
    assert max(tiles) > 1, "none is cut into strips"
    outcomes = core.run(core.build(config, simulator), [run for _, run in pairs])
    for (bundle, run), outcome in zip(pairs, outcomes, strict=True):
        assert mismatches(bundle, run, outcome) == []
        for counter in CORE_COUNTERS:
            assert outcome.totals[counter] == sum(layer[counter] for layer in outcome.layers)


@pytest.mark.sim
def test_survivors_wait_for_a_slice_where_a_strip_has_no_pattern_of_its_own() -> None:
    """Strips of one row restore all of their `I_s`; the buffer holds one slice."""
    rng = random.Random(3)
    draw = Draw(torch.Generator().manual_seed(3))
    conv = draw_conv(draw, rng, "conv", (6, 1, 7, 1), padding=(9, 0, 0, 0), groups=6)
    zap = draw_predictor(draw, rng, "none skipped", 6)
    shrunk = draw_conv(draw, rng, "shrunk", (3, 6, 4, 4), stride=(4, 4))
    fc = draw_conv(draw, rng, "fc", (3, 3, 5, 3), signed_output=True)
    tensors = {
        f"layers.{layer.name}.{field}": getattr(layer, field)
        for layer in (conv, shrunk, fc)
        for field in ("weight", "bias", "multiplier", "shift")
    }
    for field in ("weight1", "bias1", "shift1", "weight2"):
        tensors[f"predictors.zap.{field}"] = getattr(zap, field)
    tensors["predictors.zap.score_scale"] = torch.ones(6, dtype=torch.float64)
    tensors["predictors.zap.score_offset"] = torch.zeros(6, dtype=torch.float64)
    tensors[f"operating_points.{POINT}.conv.threshold"] = zap.threshold
    shapes = {"image": (6, 20, 12), "conv": (6, 23, 12), "shrunk": (3, 5, 3), "fc": (3, 1, 1)}
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name="one_row",
        input=Input(tensor="image", mean=[0.0] * 6, std=[1.0] * 6),
        output="fc",
        classes=["a", "b", "c"],
        activations={
            name: Activation(shape=shape, signed=name == "fc", scale=1)
            for name, shape in shapes.items()
        },
        layers=[
            ConvNode(name="conv", input="image", output="conv", padding=conv.padding, groups=6),
            ConvNode(name="shrunk", input="conv", output="shrunk", stride=(4, 4)),
            ConvNode(name="fc", input="shrunk", output="fc", fully_connected=True),
        ],
        predictors={"zap": PredictorNode(layer="conv", pattern=str(zap.pattern))},
        operating_points=[
            OperatingPoint(
                name=POINT, layers={"conv": LayerChoice(predictor="zap", sigma=-math.inf)}
            )
        ],
    )
    bundle = Bundle(manifest, tensors)
    program = compile_bundle(bundle, STRIPS, keep=True)
    words = [tile for tile in program.descriptors(POINT) if tile["slice_step"]]
    assert any(tile["first_row"] == tile["height"] for tile in words)
    assert {tile["ifm_slots"] for tile in words} == {1}
    image = random_image(bundle, rng).numpy()
    runs = [Run(program=program, image=image, point=POINT, latency=n) for n in (1, 40, 300)]
    outcomes = core.run(core.build(STRIPS, "verilator"), runs)
    for run, outcome in zip(runs, outcomes, strict=True):
        assert mismatches(bundle, run, outcome) == []


@pytest.mark.sim
@pytest.mark.second
def test_the_largest_maps_are_bit_exact() -> None:
    """The core has memories for five of their rows, the least with ZAP, and for 1x1 kernels."""
    config = replace(TINY, name="large", ifm_words=1 << 16, ofm_words=1 << 15, weight_words=1 << 12)
    config = replace(config, row_pixels=4096)
    rng = random.Random(1)
    shapes = [(1, 4, 4096), (1, 4096, 4), (4096, 2, 2)]
    bundles = [random_network(config, rng, shape) for shape in shapes]
    runs = [
        Run(
            program=compile_bundle(bundle, config, keep=True),
            image=random_image(bundle, rng).numpy(),
            point=POINT,
        )
        for bundle in bundles
    ]
    outcomes = core.run(core.build(config, "verilator", end=max(r.program.end for r in runs)), runs)
    for bundle, run, outcome in zip(bundles, runs, outcomes, strict=True):
        assert mismatches(bundle, run, outcome) == []


@pytest.mark.sim
def test_models_of_another_hand_find_nothing_wrong_with_the_ports() -> None:
    """They are the memory and register master of cocotbext-axi; every channel pauses at random."""
    pairs = [(bundle, replace(run, stall=0.3)) for bundle, run in random_runs(STRIPS, 2, seed=5)]
    built = core.build_bare(STRIPS, "icarus")
    outcomes = core.run(built, [run for _, run in pairs], bench="tb.benches.core_cocotbext")
    for (bundle, run), outcome in zip(pairs, outcomes, strict=True):
        assert mismatches(bundle, run, outcome) == []


class Drawn:
    """A random network in the place of a `tb.runs.whole_networks.WholeNetwork`."""

    config = "small"

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def load(self) -> tuple[Bundle, str]:
        return self._bundle, POINT


class Absent:
    """A network whose bundle does not exist."""

    config = "small"

    def load(self) -> tuple[Bundle, str]:
        raise UserError("build/absent: not found")


@pytest.mark.sim
def test_sim_full_ends_with_what_it_compared_and_with_status_1_if_anything_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ((bundle, run),) = random_runs(STRIPS, 1, seed=9)
    config = tmp_path / "tiny.json"
    config.write_text(json.dumps(STRIPS.to_dict()))
    networks = {"absent": Absent(), "drawn": Drawn(bundle)}
    monkeypatch.setattr(sim_full, "NETWORKS", networks)
    monkeypatch.setattr(whole_networks, "NETWORKS", networks)
    monkeypatch.setattr(sim_full, "MEMORY_END", 0)
    monkeypatch.setattr(sim_full, "input_image", lambda *_: torch.from_numpy(run.image))
    monkeypatch.setattr(sys, "argv", ["sim_full", "drawn", "--config", str(config)])
    assert sim_full.main() == 0
    said = r"drawn: \d+ layers, \d+ activations compared, {} differ, \d+ cycles, \d+ cycles/s\n"
    assert re.fullmatch(said.format(0), capsys.readouterr().out)

    honest = core.check

    def check(*arguments: Any) -> list[core.LayerCheck]:
        first, *rest = honest(*arguments)
        return [replace(first, differ=3, mismatch="layer 'a' is wrong"), *rest]

    monkeypatch.setattr(core, "check", check)
    monkeypatch.setattr(sys, "argv", ["sim_full", "--config", str(config)])
    assert sim_full.main() == 1
    first = "first difference: layer 'a' is wrong\nabsent: skipped, build/absent: not found\n"
    assert re.fullmatch(first + said.format(3), capsys.readouterr().out)
    monkeypatch.setattr(sys, "argv", ["sim_full", "absent"])
    with pytest.raises(UserError, match="build/absent: not found"):
        sim_full.main()


def test_sim_full_refuses_a_network_that_it_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["sim_full", "lenet"])
    with pytest.raises(UserError, match=r"^no network 'lenet'; there are digits, resnet20, "):
        sim_full.main()


@pytest.mark.sim
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_a_program_that_exceeds_the_core_is_refused_and_the_next_one_runs(
    simulator: Simulator,
) -> None:
    ((bundle, run),) = random_runs(STRIPS, 1, seed=7)
    run = replace(run, point=POINT, latency=1, stall=0.0)
    cases = bad_programs(run.program)
    if simulator == "icarus":
        cases = cases[::9]
    runs = [replace(run, program=bad) for bad, _ in cases]
    outcomes = core.run(core.build(STRIPS, simulator), [*runs, run])
    for (_, says), outcome in zip(cases, outcomes, strict=False):
        assert outcome.fault.startswith(says)
        assert outcome.violations == 0
    assert mismatches(bundle, run, outcomes[-1]) == []


@pytest.mark.sim
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_a_bad_tile_is_refused_when_its_turn_comes(simulator: Simulator) -> None:
    """It was fetched while the tile before was in work, and that tile is finished."""
    ((_, run),) = random_runs(STRIPS, 1, seed=7)
    program = run.program
    layers = [layer for layer in program.layers for _ in range(layer.tiles[run.point])]
    first = first_descriptor(program, run.point)
    word = list(descriptor_words(STRIPS)).index("width")
    numbers = range(1, len(layers), max(len(layers) // 3, 1))
    runs, refused = [], []
    for number in numbers:
        one = replace(run, image=np.roll(run.image, number, 2))  # all leave something else behind
        bad = edited(program, first + number * DESCRIPTOR_BYTES + 4 * word, 0)
        runs.append(one)
        refused.append(replace(one, program=bad))
    outcomes = core.run(core.build(STRIPS, simulator), [*refused, *runs])
    for number, refusal, whole in zip(numbers, outcomes, outcomes[len(refused) :], strict=False):
        says = f"descriptor fault, word {word}, layer {layers[number].name}: "
        assert refusal.fault.startswith(says)
        assert refusal.violations == 0
        for layer in program.layers[: program.layers.index(layers[number])]:
            place = program.tensors[layer.output]
            at = place.address - len(program.image)
            ofm = slice(at, at + place.size)
            np.testing.assert_array_equal(refusal.memory[ofm], whole.memory[ofm])


@pytest.mark.sim
@pytest.mark.parametrize(("simulator", "count", "seed"), [("icarus", 1, 3), ("verilator", 40, 4)])
def test_a_program_that_contradicts_itself_ends_and_leaves_no_trace_in_the_next(
    simulator: Simulator, count: int, seed: int
) -> None:
    bundles, runs, changed = damaged_runs(STRIPS, count, max(count // 10, 1), seed)
    outcomes = core.run(core.build(STRIPS, simulator), runs)
    for changes, outcome in zip(changed, outcomes[::2], strict=True):
        assert outcome.fault.split(" fault")[0] in ("", "stall", "bounds"), changes
        assert outcome.violations == 0, changes
    if simulator == "verilator":
        for fault in ("stall", "bounds"):
            assert any(outcome.fault.startswith(fault) for outcome in outcomes)
    for bundle, run, outcome in zip(bundles, runs[1::2], outcomes[1::2], strict=True):
        assert mismatches(bundle, run, outcome) == []


@pytest.mark.sim
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_a_burst_that_would_leave_the_window_is_a_fault_of_its_layer(simulator: Simulator) -> None:
    """Each address of each tile in turn lies outside, also where the tile is loaded ahead."""
    ((bundle, run),) = random_runs(STRIPS, 1, seed=7)
    run = replace(run, point=POINT, latency=1, stall=0.0)
    program = run.program
    layers = [layer for layer in program.layers for _ in range(layer.tiles[run.point])]
    words = list(descriptor_words(STRIPS))
    cases = []
    for number, tile in enumerate(program.descriptors(run.point)):
        used = {"ifm_address", "parameters", "weights", "ofm_address", "counters"}
        used |= {"residual_address"} if tile["residual"] else set()
        used |= {"halo_address"} if tile["restored"] or tile["spilled"] else set()
        at = first_descriptor(program, run.point) + number * DESCRIPTOR_BYTES
        cases += [(edited(program, at + 4 * words.index(w), run.size), number) for w in used]
    cases = cases[:: max(len(cases) // (3 if simulator == "icarus" else 60), 1)]
    outcomes = core.run(
        core.build(STRIPS, simulator), [*(replace(run, program=bad) for bad, _ in cases), run]
    )
    for (_, number), outcome in zip(cases, outcomes, strict=False):
        assert outcome.fault.startswith(f"bounds fault, word 0, layer {layers[number].name}: ")
        assert outcome.violations == 0
    assert mismatches(bundle, run, outcomes[-1]) == []


@pytest.mark.sim
def test_a_window_that_the_core_cannot_use_is_a_fault() -> None:
    ((bundle, run),) = random_runs(STRIPS, 1, seed=7)
    run = replace(run, latency=1, stall=0.0)
    cases = [
        replace(run, base=run.base + 64),
        replace(run, base=(1 << 32) - 4096, pages=512),
        replace(run, base=1 << 32),
    ]
    built = core.build(STRIPS, "verilator")
    outcomes = core.run(built, [one for case in cases for one in (case, run)])
    for outcome in outcomes[::2]:
        layer = run.program.layers[0].name
        assert outcome.fault.startswith(f"window fault, word 0, layer {layer}: ")
        assert outcome.violations == 0
    for outcome in outcomes[1::2]:
        assert mismatches(bundle, run, outcome) == []


@pytest.mark.sim
@pytest.mark.parametrize("bits", [40, 64])
def test_a_window_may_lie_beyond_4_gib(bits: int) -> None:
    config = replace(STRIPS, name=f"strips{bits}", address_bits=bits)
    pairs = random_runs(config, 2, seed=8)
    assert max(run.base for _, run in pairs) > 1 << 32
    outcomes = core.run(core.build(config, "verilator"), [run for _, run in pairs])
    for (bundle, run), outcome in zip(pairs, outcomes, strict=True):
        assert mismatches(bundle, run, outcome) == []


@pytest.mark.sim
def test_an_input_is_still_there_after_a_run() -> None:
    ((bundle, run),) = random_runs(STRIPS, 1, seed=9)
    program = compile_bundle(bundle, STRIPS)
    (outcome,) = core.run(core.build(STRIPS, "verilator"), [replace(run, program=program)])
    place = program.tensors[program.input]
    first = place.address - len(program.image)
    assert outcome.memory[first : first + place.size].tobytes() == place.pack(run.image)


@pytest.mark.sim
def test_a_memory_that_does_not_answer_is_a_fault_as_soon_as_it_does() -> None:
    ((bundle, run),) = random_runs(STRIPS, 1, seed=7)
    run = replace(run, stall=0.0, latency=1)
    silent = replace(run, latency=2 * patience(STRIPS))
    outcomes = core.run(core.build(STRIPS, "verilator"), [silent, run])
    assert outcomes[0].fault.startswith("stall fault")
    assert mismatches(bundle, run, outcomes[1]) == []


@pytest.mark.sim
@pytest.mark.parametrize(("simulator", "count", "seed"), [("icarus", 1, 115), ("verilator", 20, 1)])
def test_whatever_happens_to_a_run_leaves_no_trace_in_the_next(
    simulator: Simulator, count: int, seed: int
) -> None:
    """A run is aborted, reset, started again or gets an error from memory, at any time."""
    rng = random.Random(seed)
    pairs = random_runs(STRIPS, count, seed=seed)
    built = core.build(STRIPS, simulator)
    lengths = [
        outcome.totals["elapsed"]
        for outcome in core.run(built, [replace(run, stall=0.0) for _, run in pairs])
    ]
    runs, says = [], []
    for (_, run), length in zip(pairs, lengths, strict=True):
        program = run.program
        scratch = len(program.image)
        after = rng.randrange(length)
        cases = [
            (replace(run, event="abort", after=after), r"aborted|"),  # or too late to end anything
            (replace(run, event="start", after=after), r""),
            (replace(run, event="reset", after=after), r"reset"),
            (replace(run, faulty=EVERYWHERE), r"read fault, word 0, layer \w+: the memory .*"),
            (replace(run, faulty=(scratch, program.end)), r"(read|write) fault, word 0, layer .*"),
            (run, r""),
        ]
        runs += [case for case, _ in cases]
        says += [said for _, said in cases]
    outcomes = core.run(built, runs)
    for number, (outcome, said) in enumerate(zip(outcomes, says, strict=True)):
        assert re.fullmatch(said, outcome.fault), f"{outcome.fault!r}, not {said!r}"
        assert outcome.violations == 0
        if not outcome.fault:
            bundle, _ = pairs[number // len(cases)]
            assert mismatches(bundle, runs[number], outcome) == []


@pytest.mark.sim
def test_an_abort_in_any_cycle_leaves_nothing_under_way() -> None:
    """The memory counts a violation if it owes an answer when the interrupt is high."""
    pairs = random_runs(STRIPS, 8, seed=11)
    built = core.build(STRIPS, "verilator")
    lengths = [
        outcome.totals["elapsed"]
        for outcome in core.run(built, [replace(run, stall=0.0, latency=60) for _, run in pairs])
    ]
    length, (bundle, run) = min(zip(lengths, pairs, strict=True), key=lambda pair: pair[0])
    whole = replace(run, stall=0.0, latency=60)
    aborted = [replace(whole, event="abort", after=after) for after in range(0, length, 7)]
    runs = [one for abort in aborted for one in (abort, whole)]
    outcomes = core.run(built, runs)
    assert [outcome.violations for outcome in outcomes] == [0] * len(runs)
    assert {outcome.fault for outcome in outcomes[::2]} <= {"aborted", ""}
    assert sum(outcome.fault == "aborted" for outcome in outcomes[::2]) > len(aborted) // 2
    for after, outcome in zip(aborted, outcomes[1::2], strict=True):
        assert mismatches(bundle, whole, outcome) == [], f"after {after.after} cycles"


@pytest.mark.second
@pytest.mark.sim
def test_random_networks_are_bit_exact_with_the_memories_of_a_preset() -> None:
    """Their maps fill queues and banks that smaller memories never fill."""
    config = PRESETS["small"]
    pairs = random_runs(config, 30, seed=6)
    pairs = [
        (bundle, replace(run, stall=stall, latency=latency))
        for (bundle, run), (stall, latency) in zip(
            pairs, itertools.cycle([(0.0, 1), (0.9, 1), (0.0, 600), (0.5, 40)]), strict=False
        )
    ]
    end = max(8 << 20, *(run.program.end for _, run in pairs))
    outcomes = core.run(core.build(config, "verilator", end=end), [run for _, run in pairs])
    for (bundle, run), outcome in zip(pairs, outcomes, strict=True):
        assert mismatches(bundle, run, outcome) == []

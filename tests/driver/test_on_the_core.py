"""The C driver on the simulated core: every network, fault and end that the Python driver knows."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compiler.build import compile_bundle
from golden.bundle import Bundle, check
from hw.contract.registers import FAULTS, Fault
from tb.exchange.core_files import Outcome, Run
from tb.random.networks import random_network
from tb.random.programs import edited, first_descriptor
from tb.random.zaps import POINT
from tb.runs import core
from tests.hw.small_configs import STRIPS

pytestmark = [
    pytest.mark.sim,
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler"),
]


def with_more_outputs(bundle: Bundle, rng: random.Random) -> Bundle:
    """The same network that returns some of its inner tensors too, which the core then keeps."""
    manifest = bundle.manifest
    inner = [node.output for node in manifest.layers if node.output != manifest.output]
    others = rng.sample(inner, min(3, len(inner)))
    changed = replace(bundle, manifest=manifest.model_copy(update={"other_outputs": others}))
    check(changed, Path("network"))
    return changed


def runs(count: int, seed: int) -> list[tuple[Bundle, Run]]:
    """Random networks, each with an image that 8-bit pixels give; half return several tensors."""
    rng, pixels = random.Random(seed), np.random.default_rng(seed)
    outputs = random.Random(f"{seed}: outputs")
    pairs = []
    for number in range(count):
        bundle = random_network(STRIPS, rng)
        if number % 2:
            bundle = with_more_outputs(bundle, outputs)
        program = compile_bundle(bundle, STRIPS, keep=True)
        shape = program.tensors[program.input].shape
        image = program.quantise(pixels.integers(0, 256, shape, dtype=np.uint8))
        point = program.points[number % len(program.points)]
        base = rng.getrandbits(19) << 12
        pairs.append((bundle, Run(program=program, image=image, point=point, base=base)))
    return pairs


def matches(bundle: Bundle, run: Run, outcome: Outcome) -> bool:
    checks = core.check(bundle, run, outcome)
    return [check.mismatch for check in checks if check.mismatch is not None] == []


def test_networks_faults_and_aborts() -> None:
    pairs = runs(6, seed=3)
    bundle, run = pairs[0]
    run = replace(run, point=POINT)
    program = run.program
    bad = [
        (edited(program, 4 * 8 * program.points.index(POINT), 0), Fault.HEADER),
        (edited(program, first_descriptor(program, POINT), 7), Fault.DESCRIPTOR),
        (edited(program, first_descriptor(program, POINT) + 4 * 3, 0), Fault.DESCRIPTOR),
    ]
    cases = [
        *(replace(run, program=changed) for changed, _ in bad),
        replace(run, base=run.base + 4096 * 3 + 8),
        replace(run, faulty=(0, 0xFFFF_FFFF)),
        replace(run, event="abort", after=200),
    ]
    says = [
        *(FAULTS[fault] for _, fault in bad),
        "the window's address or size is no multiple of 4096, or 0",
        FAULTS[Fault.READ],
        "the program was aborted",
    ]
    disturbed = [one for case in cases for one in (case, run)]
    built = core.build(STRIPS, "verilator")
    every = [*(one for _, one in pairs), *disturbed]
    outcomes = core.run(built, every, bench="tb.benches.core_c_driver")
    for (network, one), outcome in zip(pairs, outcomes, strict=False):
        assert matches(network, one, outcome)
        assert list(outcome.other_outputs) == network.manifest.other_outputs
    assert sum(len(network.manifest.other_outputs) for network, _ in pairs) >= 5
    for text, outcome, next_one in zip(says, outcomes[6::2], outcomes[7::2], strict=True):
        assert text in outcome.fault
        assert matches(bundle, run, next_one)

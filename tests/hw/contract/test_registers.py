"""Registers: their description, and the C header, SystemRDL and table that are made from it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from systemrdl import RDLCompiler
from systemrdl.node import FieldNode, RegNode
from systemrdl.rdltypes import AccessType, OnWriteType

from hw.contract.bus import LITE_ADDRESS_BITS
from hw.contract.registers import FAULTS, REGISTERS, Register, c_header, markdown
from hw.contract.systemrdl import systemrdl


def test_registers_are_words_of_their_own_within_a_page() -> None:
    offsets = [register.offset for register in REGISTERS.values()]
    assert len(set(offsets)) == len(offsets)
    assert all(offset % 4 == 0 and offset < 1 << LITE_ADDRESS_BITS for offset in offsets)
    for register in REGISTERS.values():
        taken = 0
        for field in register.fields.values():
            assert not taken & field.mask
            assert field.mask < 1 << 32
            taken |= field.mask


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_the_c_header_says_the_same(tmp_path: Path) -> None:
    (tmp_path / "zapcore_registers.h").write_text(c_header())
    lines = [f'printf("%u\\n", ZAPCORE_{name.upper()});' for name in REGISTERS]
    lines.append('printf("%u\\n", ZAPCORE_ERROR_WORD_MASK >> ZAPCORE_ERROR_WORD_SHIFT);')
    body = " ".join(lines)
    includes = '#include <stdio.h>\n#include "zapcore_registers.h"\n'
    main = f"{includes}int main(void) {{ {body} return 0; }}\n"
    (tmp_path / "main.c").write_text(main)
    program = tmp_path / "main"
    subprocess.run(
        [
            "cc",
            "-std=c99",
            "-pedantic",
            "-Wall",
            "-Werror",
            "-o",
            str(program),
            str(tmp_path / "main.c"),
        ],
        check=True,
    )
    printed = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    offsets = [register.offset for register in REGISTERS.values()]
    assert [int(line) for line in printed.split()] == [*offsets, 0xFF]


def elaborated(text: str, folder: Path) -> dict[str, RegNode]:
    """The registers of a SystemRDL text by their names, as the SystemRDL compiler reads them."""
    file = folder / "zapcore.rdl"
    file.write_text(text)
    compiler = RDLCompiler()
    compiler.compile_file(str(file))
    registers = compiler.elaborate().top.registers()
    return {register.inst_name: register for register in registers}


def access_of(register: RegNode) -> set[str]:
    """Our words for what software may do with a register's fields."""
    words = set()
    for field in register.fields():
        access = field.get_property("sw")
        if field.get_property("onwrite") == OnWriteType.woclr:
            assert access == AccessType.rw
            words.add("w1c")
        else:
            words.add({AccessType.r: "ro", AccessType.rw: "rw", AccessType.w: "wo"}[access])
    return words


def test_the_systemrdl_says_the_same(tmp_path: Path) -> None:
    found = elaborated(systemrdl(), tmp_path)
    assert list(found) == list(REGISTERS)
    for name, register in REGISTERS.items():
        node = found[name]
        assert node.absolute_address == register.offset
        assert node.get_property("desc") == register.text
        assert access_of(node) == {register.access}
        fields = [(f.inst_name, f.lsb, f.width, f.get_property("desc")) for f in node.fields()]
        if register.fields:
            described = register.fields.items()
            assert fields == [(part, f.bit, f.bits, f.text) for part, f in described]
        else:
            assert fields == [("value", 0, 32, None)]
        resets = [field.get_property("reset") for field in node.fields()]
        assert resets == [register.constant or 0] * len(resets)


def test_the_systemrdl_names_the_faults(tmp_path: Path) -> None:
    code = elaborated(systemrdl(), tmp_path)["error"].get_child_by_name("code")
    assert isinstance(code, FieldNode)
    members = code.get_property("encode")
    assert members is not None
    assert {m.name: (m.value, m.rdl_desc) for m in members} == {
        fault.name.lower(): (fault.value, text) for fault, text in FAULTS.items()
    }


def test_a_text_with_quotes_and_backslashes_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = r"""a "quoted" C:\path"""
    monkeypatch.setitem(REGISTERS, "id", Register(0, "ro", text))
    assert elaborated(systemrdl(), tmp_path)["id"].get_property("desc") == text


def test_every_register_and_field_is_documented() -> None:
    text = markdown()
    for name, register in REGISTERS.items():
        assert f"| 0x{register.offset:03X} | {name} | {register.access} |" in text
        for field in register.fields:
            assert f"| | {name}.{field} | | " in text

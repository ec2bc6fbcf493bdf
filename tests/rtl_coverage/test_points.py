"""Coverage points get names that do not depend on the numbers in emitted Verilog."""

from __future__ import annotations

from collections import Counter

from tests.rtl_coverage.points import read_coverage

VERILOG = r"""module \core.part (clk, start, state);
  always @* begin
    if (\$auto$1 ) begin end
    \$29  = \state$7 ;
    if (start) begin
      \$29  = 2'h1;
    end
  end
  always @(posedge clk)
    \state$7  <= \$29 ;
endmodule
"""


def record(page: str, lines: str, count: int, comment: str = "block") -> str:
    fields = {"f": "core.v", "page": page, "o": comment, "S": lines}
    return "C '" + "".join(f"\x01{k}\x02{v}" for k, v in fields.items()) + f"' {count}\n"


def test_a_line_is_reached_if_one_of_its_instances_is() -> None:
    records = [
        record("v_line/core.part", "2,4", 9),
        record("v_branch/core.part", "5-6", 0, "if"),
        record("v_line/axi_memory", "1", 0),
        "# a comment\n",
    ]
    coverage = read_coverage(VERILOG, records)
    assert coverage.lines == {"part": Counter({True: 1, False: 1})}
    assert list(coverage.missed) == [r"part: \state = 2'h1"]
    again = read_coverage(VERILOG, [*records, record("v_branch/core.part", "5-6", 1, "if")])
    assert again.missed == {}


def test_toggles_are_counted_for_each_bit_and_direction() -> None:
    records = [
        record("v_toggle/core.part", "", 3, "state[0]:0->1"),
        record("v_toggle/core.part", "", 0, "state[0]:1->0"),
    ]
    assert read_coverage(VERILOG, records).toggles == {"part": Counter({True: 1, False: 1})}

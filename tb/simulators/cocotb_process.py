"""Makes one call of cocotb's runner, which it reads from stdin.

cocotb's runner takes its environment from `os.environ`, even over its own `extra_env`. It behaves
differently under pytest, and it ends the process when a simulation fails. In a process of its own
none of that reaches the caller, whose threads can then run several simulations at once.

A call is a JSON object: ``{"sim": "icarus", "step": "build" | "test", "arguments": {...}}`` with
the arguments of `Runner.build` or `Runner.test`. Only `tb.simulators.process` writes one.
"""

import json
import sys

from cocotb_tools import runner


def main() -> None:
    call = json.load(sys.stdin)
    arguments = call["arguments"]
    runner.MAX_PARALLEL_BUILD_JOBS = call.get("compilers", runner.MAX_PARALLEL_BUILD_JOBS)
    simulator = runner.get_runner(call["sim"])
    try:
        if call["step"] == "build":
            simulator.build(**arguments)
        else:
            simulator.test(**arguments)
    except RuntimeError as error:  # the simulator's own message is in the log already
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

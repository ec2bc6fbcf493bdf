"""One call of cocotb's runner in a process of its own, which reads a job from stdin.

cocotb's runner takes its environment from `os.environ` (which even beats its own `extra_env`),
behaves differently under pytest and ends the process where a simulation fails. In a process of its
own none of that reaches the caller, whose threads can then run several simulations at once.

A job is a JSON object: ``{"sim": "icarus", "step": "build" | "test", "arguments": {...}}`` with the
arguments of `Runner.build` or `Runner.test`. Only :mod:`tb.simulators.simulator` writes one.
"""

import json
import sys

from cocotb_tools import runner


def main() -> None:
    job = json.load(sys.stdin)
    arguments = job["arguments"]
    runner.MAX_PARALLEL_BUILD_JOBS = job.get("jobs", runner.MAX_PARALLEL_BUILD_JOBS)
    simulator = runner.get_runner(job["sim"])
    try:
        if job["step"] == "build":
            simulator.build(**arguments)
        else:
            simulator.test(**arguments)
    except RuntimeError as error:  # the simulator's own message is in the log already
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

"""Keeps the objects of Verilator's run-time library, which every build would compile again.

That takes 12 s of CPU. The makefile variable ``OBJCACHE`` puts this script before the compiler, as
it would ccache:

    python object_cache.py FOLDER c++ -Os ... -c -o verilated.o /.../include/verilated.cpp

Only that library is kept: it includes nothing of the design, so its objects depend on the command
line alone (the folder is named after the installation that the sources belong to). Every other call
is handed on to the compiler. The script runs once per object, so it imports little.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__: list[str] = []


def main(cache: Path, command: list[str]) -> int:
    source = Path(command[-1])
    output = Path(command[command.index("-o") + 1]) if "-o" in command else None
    if output is None or not source.is_absolute() or not source.name.startswith("verilated"):
        return subprocess.call(command)
    key = hashlib.sha256("\0".join(command).encode()).hexdigest()
    kept = cache / f"{output.stem}-{key[:16]}.o"
    if kept.exists():
        shutil.copyfile(kept, output)
        return 0
    code = subprocess.call(command)
    if code == 0:
        cache.mkdir(parents=True, exist_ok=True)
        # Two builds at a time may both write this object; renaming keeps both from reading half.
        partial = kept.with_suffix(f".{os.getpid()}")
        shutil.copyfile(output, partial)
        partial.replace(kept)
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))

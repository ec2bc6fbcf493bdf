"""Installation of a clone: what can be imported from elsewhere, and what needs no torch."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def python(executable: str | Path, script: str, cwd: Path) -> str:
    done = subprocess.run(
        [executable, "-c", script], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.second
def test_an_editable_install_makes_the_packages_importable_anywhere(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    left_out = (".venv", ".git", "build", "shared", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(*left_out))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    executable = tmp_path / "venv/bin/python"
    (site,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", executable, "install"]
    subprocess.run([*pip, *options, "-e", clone], check=True)

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    script = """
import importlib.util
import golden.network, quant.networks.registry, compiler.driver, hw.core.core, tb.runs.core
import bench.figures, examples.demo
print(golden.network.__file__, importlib.util.find_spec("tests"))
"""
    assert python(executable, script, elsewhere).split() == [
        str(clone / "golden/network.py"),
        "None",
    ]


@pytest.mark.parametrize("module", ["hw.verilog", "hw.fpga.__main__", "compiler.driver"])
def test_hardware_and_the_driver_need_no_torch(module: str) -> None:
    script = f"import sys; sys.modules['torch'] = None; import {module}"
    python(sys.executable, script, ROOT)

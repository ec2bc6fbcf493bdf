"""pytest plugin: plants a defect in what the component tests elaborate, or notes what they reach.

`ZAPCORE_MUTANT` is the identity of the defect. `ZAPCORE_REACHED` names the file to which the
identities of all defects are written that could be planted in what the tests elaborated.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.mutants import rewrite, sites

if identity := os.environ.get("ZAPCORE_MUTANT"):
    sites.ALONE.append(identity)
rewrite.install()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write what was reached."""
    if file := os.environ.get("ZAPCORE_REACHED"):
        Path(file).write_text(json.dumps(list(sites.REACHED)))

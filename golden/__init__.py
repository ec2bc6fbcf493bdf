"""The specification that runs: patterns, integer arithmetic, layers, bundles, networks."""

import sys

from golden.errors import report_uncaught

sys.excepthook = report_uncaught

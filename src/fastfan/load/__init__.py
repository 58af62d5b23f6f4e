"""The load generator behind ``fastpubsub bench``: compiled, in one thread, without the GIL.

    plan.py      what it is to do             load.h   the C side, and who does what there
    report.py    what came of it              _load    the two together
"""

from fastfan.load._load import Load
from fastfan.load.errors import LoadError, LoadStopped
from fastfan.load.plan import Plan
from fastfan.load.report import Percentiles, Report, Step

__all__ = ["Load", "LoadError", "LoadStopped", "Percentiles", "Plan", "Report", "Step"]

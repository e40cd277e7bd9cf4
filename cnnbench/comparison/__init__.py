"""Finished runs -> one table with its uncertainty, and what that allows to conclude."""

from cnnbench.comparison.assemble import compare
from cnnbench.comparison.comparison import Comparison, Pair, Row

__all__ = ["Comparison", "Pair", "Row", "compare"]

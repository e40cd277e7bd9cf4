"""Finished runs -> one table with its uncertainty, and what that allows to conclude."""

from cnnbench.comparison.assemble import compare
from cnnbench.comparison.comparison import Comparison, Pair, Point, Row

__all__ = ["Comparison", "Pair", "Point", "Row", "compare"]

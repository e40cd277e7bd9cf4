"""Finished runs -> one table with its uncertainty, and what that allows to conclude."""

from cnnbench.comparison.comparison import Comparison, Pair, Row
from cnnbench.comparison.finished import compare
from cnnbench.comparison.sentences import conclusions

__all__ = ["Comparison", "Pair", "Row", "compare", "conclusions"]

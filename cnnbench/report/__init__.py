"""Finished runs -> report.md and report.html with their pictures and tables."""

from cnnbench.report.write import write_report

__all__ = ["write_report"]

"""The report of an evaluation: a self-contained HTML page."""

from trainer.evaluation.report.report import render, write

__all__ = ["render", "write"]

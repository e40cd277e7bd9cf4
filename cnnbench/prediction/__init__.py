"""A trained run applied to the user's own pictures."""

from cnnbench.prediction.predictions import as_dicts, predict

__all__ = ["as_dicts", "predict"]

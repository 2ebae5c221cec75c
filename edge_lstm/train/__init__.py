"""Training: gradients from the cell's dataflow, thresholds by straight-through estimation, the integers in the loop."""

from edge_lstm.train.fitting import Result, finetune, fit, fit_many
from edge_lstm.train.judging import Judgement
from edge_lstm.train.loop import History, Progress
from edge_lstm.train.recipe import Recipe

__all__ = ["History", "Judgement", "Progress", "Recipe", "Result", "finetune", "fit", "fit_many"]

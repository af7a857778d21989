"""What a model costs and how well it segments."""

from samlet.evaluation.costs import Cost, PartCost, cost
from samlet.evaluation.miou import Evaluation, evaluate

__all__ = ["Cost", "Evaluation", "PartCost", "cost", "evaluate"]

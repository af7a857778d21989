"""What a model costs and how well it segments."""

from samlet.evaluation.compare import Comparison, Contestant, compare
from samlet.evaluation.costs import Cost, PartCost, cost
from samlet.evaluation.miou import Evaluation, evaluate, evaluate_all

__all__ = [
    "Comparison",
    "Contestant",
    "Cost",
    "Evaluation",
    "PartCost",
    "compare",
    "cost",
    "evaluate",
    "evaluate_all",
]

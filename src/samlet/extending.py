"""Doors for researchers: a criterion, a selection, a loss, a protocol or an encoder of one's own, from outside.

>>> @samlet.register_criterion("largest", "|w| of the largest weight")
... def largest(given): ...

What is registered is taken by its name in configs and, where the module is named in `SAMLET_PLUGINS`, on the command
line, where it stands in `--help`; runs record its module and the digest of its source. `examples/extending/` has one of
each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from torch import Tensor

from samlet.evaluation.ground_truth import GroundTruth, Rule
from samlet.evaluation.protocols import Values, protocols
from samlet.inference.segmenter import Segmenter
from samlet.models.encoders import register_encoder
from samlet.slimming import losses as _losses  # noqa: F401 - registers samlet's own
from samlet.slimming.config import criteria, losses, selections
from samlet.slimming.scoring import CriterionInputs

__all__ = ["register_criterion", "register_encoder", "register_loss", "register_protocol", "register_selection"]

C = TypeVar("C", bound=Callable[[CriterionInputs], Mapping[str, Tensor]])
S = TypeVar("S", bound=Callable[[Tensor], Tensor])
L = TypeVar("L", bound=Callable[[Tensor, Tensor, int], Tensor])
P = TypeVar("P", bound=Callable[[Segmenter, GroundTruth, Sequence[Rule], dict[str, Any]], Values])


def register_criterion(name: str, sentence: str = "a criterion from outside") -> Callable[[C], C]:
    """Add a pruning criterion: a function from `CriterionInputs` to (size,) scores by group name.

    For the command line name the module that calls this: `SAMLET_PLUGINS=MODULE samlet slim --importance NAME …`.

    Args:
        name: for `--importance` and `SlimConfig.importance`.
        sentence: what it does.

    Raises:
        InputError: the name is no lower-case word, or taken.
    """
    return criteria.register(name, sentence)


def register_selection(name: str, sentence: str = "ranked together") -> Callable[[S], S]:
    """Add a selection: a function that brings the (size,) scores of one group to the scale that all are ranked by."""
    return selections.register(name, sentence)


def register_loss(name: str, sentence: str = "a loss from outside") -> Callable[[L], L]:
    """Add a loss of features: (output, target, number of images that their first axis holds) to a scalar."""
    return losses.register(name, sentence)


def register_protocol(name: str, sentence: str = "a protocol from outside") -> Callable[[P], P]:
    """Add an evaluation protocol: (segmenter with its image set, ground truth, rules, options) to IoU by rule.

    The function answers a list of IoUs, one for each true mask, for every rule that it was asked for.
    """
    return protocols.register(name, sentence)

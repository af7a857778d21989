"""The two aligning losses (SlimSAM, eqs. 5 to 8) and their α schedules.

v0 is the teacher, v1 the model after embedding pruning, v2 after bottleneck pruning; t is the final image embedding, E
the outputs of the blocks, H the features inside them.

The paper compares by mean squared error (`mse`). The default, `relative`, divides each error by the variance of its
target: the features of one model differ in scale by orders of magnitude, and with plain errors a few layers are aligned
at the cost of the embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samlet.models import ImageEncoder

_EPS = 1e-12

Features = dict[str, Tensor]


@contextmanager
def observed(encoder: nn.Module, names: Iterable[str]) -> Iterator[Features]:
    """Collect the outputs of named modules while the block runs the encoder."""
    features: Features = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_: nn.Module, __: Any, output: Tensor) -> None:
            features[name] = output

        return hook

    handles = [encoder.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        yield features
    finally:
        for handle in handles:
            handle.remove()


def run_observed(encoder: ImageEncoder, images: Tensor, names: Iterable[str]) -> tuple[Tensor, Features]:
    """Embedding (B, C, h, w) and features of a batch.

    The encoder runs with grad mode on, which is how it computes every layer whole; a frozen encoder records no graph.
    """
    with torch.enable_grad(), observed(encoder, names) as features:
        embedding = encoder(images)
    return embedding, features


def relative_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error as a share of the target's variance: 1 for a constant guess at its mean."""
    return F.mse_loss(output, target) / target.var(correction=0).clamp(min=_EPS)


ErrorName = Literal["relative", "mse"]
ERRORS: dict[ErrorName, Callable[[Tensor, Tensor], Tensor]] = {"relative": relative_error, "mse": F.mse_loss}
"""How an output is compared with its target; the paper's is `mse`."""


def feature_error(student: Features, teacher: Features, error: ErrorName) -> Tensor:
    """Mean over the features of their errors."""
    return torch.stack([ERRORS[error](student[name], teacher[name].detach()) for name in teacher]).mean()


def bottleneck_alpha(progress: float) -> float:
    """α of bottleneck aligning: 0.5 in the first half of the stage, then 0 (SlimSAM: N = 10 of 20 epochs).

    Args:
        progress: share of the stage that is done, 0 to 1.
    """
    return 0.5 if progress < 0.5 else 0.0


def embedding_alpha(progress: float, periods: int = 10) -> float:
    """α of embedding aligning: (N - n - 1) / N in period n of the first half of the stage, then 0 (N = 10)."""
    period = int(progress * 2 * periods)
    return max(0.0, (periods - period - 1) / periods)


def bottleneck_aligning(
    student: ImageEncoder, teacher: ImageEncoder, images: Tensor, alpha: float, error: ErrorName = "relative"
) -> Tensor:
    """α · MSE(H_v0, H_v1) + (1 - α) · MSE(t_v0, t_v1) (SlimSAM, eqs. 5 and 6), a scalar.

    Args:
        student: v1.
        teacher: v0, frozen.
        images: (B, 3, H, W).
        alpha: α.
        error: how H and t are compared, see `ERRORS`.
    """
    names = teacher.bottleneck_features() if alpha else []
    embedding, features = run_observed(student, images, names)
    target, target_features = run_observed(teacher, images, names)
    loss = (1 - alpha) * ERRORS[error](embedding, target)
    return loss + alpha * feature_error(features, target_features, error) if alpha else loss


def embedding_aligning(
    student: ImageEncoder,
    middle: ImageEncoder,
    teacher: ImageEncoder,
    images: Tensor,
    alpha: float,
    error: ErrorName = "relative",
) -> Tensor:
    """α · (MSE(E_v1, E_v2) + MSE(t_v1, t_v2)) + (1 - α) · MSE(t_v0, t_v2) (SlimSAM, eqs. 7 and 8), a scalar.

    Args:
        student: v2.
        middle: v1, frozen; not run where α is 0.
        teacher: v0, frozen.
        images: (B, 3, H, W).
        alpha: α.
        error: how E and t are compared, see `ERRORS`.
    """
    names = student.embedding_features() if alpha else []
    embedding, features = run_observed(student, images, names)
    target, _ = run_observed(teacher, images, [])
    loss = (1 - alpha) * ERRORS[error](embedding, target)
    if not alpha:
        return loss
    middle_embedding, middle_features = run_observed(middle, images, names)
    towards_middle = feature_error(features, middle_features, error) + ERRORS[error](embedding, middle_embedding)
    return loss + alpha * towards_middle

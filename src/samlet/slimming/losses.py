"""The two aligning losses (SlimSAM, eqs. 5 to 8).

v0 is the teacher, v1 the model after embedding pruning, v2 after bottleneck pruning; t is the final image embedding, E
the outputs of the blocks, H the features inside them.

The paper compares by mean squared error (`mse`). The default, `relative`, divides each error by the variance of its
target in the same image: the features of one model differ in scale by orders of magnitude, and with plain errors a few
layers are aligned at the cost of the embedding. Both are means over images, so a batch may be computed in parts.

A teacher's feature is compared as soon as the student has computed its own, and no two features are ever concatenated,
so at most one copy of the teacher's features exists beside the student's graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samlet.models import Embedding, ImageEncoder, maps_of
from samlet.models.modes import whole_layers
from samlet.slimming.config import ErrorName, losses

_EPS = 1e-12

Features = dict[str, Tensor]


@contextmanager
def observed(encoder: nn.Module, names: Iterable[str], see: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Show the outputs of named modules to `see` while the block runs the encoder."""

    def hook(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda _, __, output: see(name, output)

    handles = [encoder.get_submodule(name).register_forward_hook(hook(name)) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def run_observed(encoder: ImageEncoder, images: Tensor, names: Iterable[str] = ()) -> tuple[Embedding, Features]:
    """Embedding and features of a batch, from a frozen encoder.

    Where features inside blocks are wanted, every layer is computed whole. Outputs of blocks are whole in any case, so
    otherwise the encoder runs as in inference, in strips.
    """
    names = list(names)
    features: Features = {}
    inside = bool(set(names) - set(encoder.embedding_features()))
    with torch.no_grad(), whole_layers(inside), observed(encoder, names, features.__setitem__):
        embedding = encoder(images)
    return embedding, features


@losses.built_in("relative")
def relative_error(output: Tensor, target: Tensor, images: int = 1) -> Tensor:
    """Mean squared error as a share of the target's variance, a scalar: 1 for a constant guess at its mean.

    The variance is that of each image's own target, and the result is the mean over the images: it is the same however
    many are computed at once.

    Args:
        output: (images · N, ...), image after image; inside blocks N is the number of windows, or of tokens.
        target: like `output`.
        images: that the first axis holds.
    """
    pairs = zip(output.unflatten(0, (images, -1)), target.unflatten(0, (images, -1)), strict=True)
    return torch.stack([F.mse_loss(a, b) / b.var(correction=0).clamp(min=_EPS) for a, b in pairs]).mean()


def embedding_error(output: Embedding, target: Embedding) -> Tensor:
    """`relative_error` of embeddings of images, a scalar; where they have several maps, the mean over the maps."""
    errors = [relative_error(a, b, len(b)) for a, b in zip(maps_of(output), maps_of(target), strict=True)]
    return torch.stack(errors).mean()


@losses.built_in("mse")
def _squared_error(output: Tensor, target: Tensor, _: int) -> Tensor:
    return F.mse_loss(output, target)


class Objective(nn.Module):
    """What a stage trains: the student is its only submodule, so its parameters are the student's.

    Args:
        student: v1 or v2.
        teacher: v0, frozen.
        middle: v1, frozen, where eqs. 7 and 8 want it.
        error: how features are compared, see `config.ERRORS`.
    """

    def __init__(
        self,
        student: ImageEncoder,
        teacher: ImageEncoder,
        middle: ImageEncoder | None = None,
        error: ErrorName = "relative",
    ) -> None:
        super().__init__()
        self.student = student
        self._frozen = (teacher, middle)  # in a tuple, so that they are no submodules
        self._error = losses[error]

    def embedding_error(self, embedding: Embedding, target: Embedding) -> Tensor:
        """Distance of two final embeddings of B images, a scalar; the mean over their maps."""
        errors = []
        for output, wanted in zip(maps_of(embedding), maps_of(target), strict=True):
            errors.append(self._error(output.float(), wanted.detach().float(), len(output)))
        return torch.stack(errors).mean()

    def towards(self, images: Tensor, targets: Features) -> tuple[Embedding, Tensor | None]:
        """The student's embedding, and the mean error of its features; `targets` is emptied on the way."""
        errors: list[Tensor] = []

        def compare(name: str, output: Tensor) -> None:
            errors.append(self._error(output.float(), targets.pop(name).detach().float(), len(images)))

        with observed(self.student, list(targets), compare) if targets else nullcontext():
            embedding = self.student(images)
        return embedding, torch.stack(errors).mean() if errors else None


class BottleneckAligning(Objective):
    """α · MSE(H_v0, H_v1) + (1 - α) · MSE(t_v0, t_v1) (SlimSAM, eqs. 5 and 6)."""

    def forward(self, images: Tensor, alpha: float, target: Embedding | None = None) -> Tensor:
        """The loss, a scalar.

        Args:
            images: (B, 3, H, W).
            alpha: α; at 0 no feature is read.
            target: the teacher's embedding, if it is known already.
        """
        teacher = self._frozen[0]
        features: Features = {}
        if alpha or target is None:
            target, features = run_observed(teacher, images, teacher.bottleneck_features() if alpha else ())
        embedding, inside = self.towards(images, features)
        loss = (1 - alpha) * self.embedding_error(embedding, target)
        return loss if inside is None else loss + alpha * inside


class EmbeddingAligning(Objective):
    """α · (MSE(E_v1, E_v2) + MSE(t_v1, t_v2)) + (1 - α) · MSE(t_v0, t_v2) (SlimSAM, eqs. 7 and 8)."""

    def forward(self, images: Tensor, alpha: float, target: Embedding | None = None) -> Tensor:
        """The loss, a scalar.

        Args:
            images: (B, 3, H, W).
            alpha: α; at 0 the middle model is not run.
            target: the teacher's embedding, if it is known already.
        """
        teacher, middle = self._frozen
        if target is None:
            target, _ = run_observed(teacher, images)
        features: Features = {}
        if alpha and middle is not None:
            middle_target, features = run_observed(middle, images, middle.embedding_features())
        embedding, blocks = self.towards(images, features)
        loss = (1 - alpha) * self.embedding_error(embedding, target)
        if blocks is None:
            return loss
        return loss + alpha * (blocks + self.embedding_error(embedding, middle_target))

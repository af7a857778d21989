"""What everything that segments has in common, whatever is inside: evaluation and labelling ask nothing more of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from samlet.data.images import RGBImage
from samlet.inference.everything.generator import Everything
from samlet.models import PromptableModel


@dataclass(frozen=True)
class Answers:
    """Answers to P prompts on one image; masks are made when they are asked for.

    Attributes:
        scores: (P, M) how good each mask is taken to be.
        singles: number of the output that answers each prompt taken as unambiguous (P,).
        multi: numbers of the outputs for an ambiguous prompt.
        draw: makes masks (K, H, W), bool, of a prompt's outputs.
    """

    scores: NDArray[np.float32]
    singles: NDArray[np.integer]
    multi: tuple[int, ...]
    draw: Callable[[int, Sequence[int]], NDArray[np.bool_]]

    def best(self, prompt: int) -> int:
        """The output of a prompt whose mask is taken to be the best of the multimask outputs."""
        return self.multi[int(self.scores[prompt, list(self.multi)].argmax())]


@runtime_checkable
class Segmenter(Protocol):
    """A model that answers prompts on an image.

    Attributes:
        image_size: side of its input, pixels.
    """

    image_size: int

    @property
    def promptable(self) -> PromptableModel | None:
        """The `Sam` inside, exported or not, whose parts can be measured and copied to processes; None without one."""
        ...

    @property
    def label_options(self) -> dict[str, Any]:
        """Options of `everything` that labels are made with unless others are asked for."""
        ...

    def set_image(self, image: RGBImage) -> None:
        """Take an image (H, W, 3)."""
        ...

    def encode(self) -> None:
        """Compute what does not depend on prompts, where `set_image` has left it for later."""
        ...

    def answer(self, points: Any = None, labels: Any = None, boxes: Any = None, masks: Any = None) -> Answers:
        """Answer prompts on that image; arguments as of `Predictor.predict`."""
        ...

    def everything(self, **options: Any) -> Everything:
        """All masks of that image."""
        ...

    def everything_settings(self, **options: Any) -> dict[str, Any]:
        """What determines the masks of `everything` with these options; raises InputError for others than it takes."""
        ...

    def fingerprint(self) -> str:
        """What tells the model from others: a digest of its weights."""
        ...


AnyModel = PromptableModel | Segmenter
"""What evaluation and labelling are given; `sam_segmenter.as_segmenter` makes a `Segmenter` of either."""

"""What requests and answers look like, which the OpenAPI description is made of."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from samlet.serve.model_thread import Prompt

Number = Annotated[float, Field(allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ImageAnswer(BaseModel):
    """A picture that prompts may ask about."""

    image: str = Field(description="its name in the addresses of prompts")
    width: int
    height: int
    seconds: float


class PromptBody(_Strict):
    """One object, pointed at."""

    points: list[tuple[Number, Number]] = Field(default=[], max_length=256, description="x, y in pixels of the picture")
    labels: list[Literal[0, 1]] | None = Field(
        default=None, description="1 foreground, 0 background, one a point; all 1 if not given"
    )
    box: tuple[Number, Number, Number, Number] | None = Field(default=None, description="x0, y0, x1, y1 in pixels")
    multimask: bool | None = Field(
        default=None,
        description="the best of three masks, or the single one; three for one click or one box if not given",
    )

    def prompt(self) -> Prompt:
        """As `ModelThread` takes it; ValueError where labels do not fit."""
        labels = [1] * len(self.points) if self.labels is None else self.labels
        if len(labels) != len(self.points):
            raise ValueError(f"{len(labels)} labels were given for {len(self.points)} points; expected one a point")
        ambiguous = len(self.points) + (self.box is not None) == 1
        multimask = ambiguous if self.multimask is None else self.multimask
        return Prompt(tuple(self.points), tuple(labels), self.box, multimask)


class MasksBody(_Strict):
    """Prompts on one picture."""

    prompts: list[PromptBody]


class Rle(BaseModel):
    """COCO's compressed run-length code."""

    size: tuple[int, int] = Field(description="height, width")
    counts: str


class MaskAnswer(BaseModel):
    """One mask."""

    model_config = ConfigDict(extra="allow")

    segmentation: Rle
    area: int
    bbox: tuple[int, int, int, int] = Field(description="x, y, width, height")
    predicted_iou: float
    stability_score: float


class MasksAnswer(BaseModel):
    """One mask for each prompt, or all masks of a picture."""

    masks: list[MaskAnswer]
    seconds: float


class EverythingBody(_Strict):
    """How everything mode asks."""

    strategy: Literal["grid", "hierarchical"] = "hierarchical"
    points_per_side: int = Field(default=32, ge=1, le=64)
    pred_iou_thresh: float | None = Field(default=None, ge=0, le=1)
    stability_score_thresh: float = Field(default=0.95, ge=0, le=1)

    def options(self) -> dict[str, Any]:
        """Fields of `EverythingOptions`."""
        return self.model_dump(exclude_none=True)


class Health(BaseModel):
    """How the service does."""

    status: str = "UP"
    model_class: str = "samlet"
    model: str
    image_size: int
    images: int = Field(description="pictures that are held")
    image_bytes: int
    waiting: int = Field(description="requests that wait for the model")


class ErrorAnswer(BaseModel):
    """Why a request failed."""

    detail: str

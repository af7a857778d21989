"""From a criterion and photographs to the channels that stay."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar, cast

from torch import Tensor

from samlet.data.datasets import Dataset
from samlet.errors import InputError
from samlet.io.progress import progress_bar
from samlet.models import ChannelGroup, ImageEncoder, Sam
from samlet.runs.distributed import DistributedContext
from samlet.slimming.config import SlimConfig, criteria
from samlet.slimming.importance import (
    Gradients,
    channel_scores,
    disturbed_gradients,
    fisher_scores,
    group_parameters,
    labelled_gradients,
    magnitude,
    random_scores,
    score_weights,
)
from samlet.slimming.labels import Labelled, labelled_sample
from samlet.slimming.selection import Kept, ratio_inside_heads, select, select_heads, select_uniform, top
from samlet.slimming.surgery import cut_encoder, with_encoder
from samlet.slimming.widths import Widths
from samlet.training.batches import ImageDataset

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """Scores and chooses channels.

    Attributes:
        teacher: whose decoder reads the embeddings, for the criterion with labels.
        photographs: to score on.
        labels: photographs with masks, for the criterion with labels.
        config: settings.
        engine: whose processes share the images.
    """

    teacher: Sam
    photographs: ImageDataset
    labels: Dataset | None
    config: SlimConfig
    engine: DistributedContext

    def choose(self, encoder: ImageEncoder, kinds: Sequence[str], widths: Widths | None = None) -> Kept:
        """Channels that stay, of the groups of the given kinds.

        Embeddings are cut uniformly, bottlenecks as the settings say. With `whole_heads`, heads are scored and cut
        first, then the channels inside those that stay are scored again.

        Args:
            encoder: to cut.
            kinds: of groups.
            widths: how many stay, where that was searched; groups that are not named stay whole.
        """
        if widths is not None:
            return self._highest(encoder, kinds, widths)
        config, kept = self.config, Kept()
        ratio = inside = cast(float, config.ratio)
        heads = [g for g in encoder.channel_groups() if g.kind == "head"]
        if "bottleneck" in kinds and config.cuts_heads and heads:
            kept = select_heads(heads, self.scores(encoder, heads), ratio, config.selection)
            encoder = cut_encoder(encoder, kept)
            left = [g for g in encoder.channel_groups() if g.kind == "head"]
            inside = ratio_inside_heads(heads, left, ratio)
        groups = [g for g in encoder.channel_groups() if g.kind in kinds]
        scores = self.scores(encoder, groups)
        streams = [g for g in groups if g.kind == "embedding"]
        bottlenecks = [g for g in groups if g.kind == "bottleneck"]
        ratios = {g.family: inside if g.family.endswith("attention") else ratio for g in bottlenecks}
        kept |= select_uniform(streams, scores, ratio)
        return kept | select(bottlenecks, scores, ratios, config.selection)

    def _highest(self, encoder: ImageEncoder, kinds: Sequence[str], widths: Widths) -> Kept:
        """As many channels of each group as its width, those with the highest scores; heads first."""
        kept = Kept()
        for together in (["head"] if "bottleneck" in kinds else [], kinds):
            groups = [g for g in encoder.channel_groups() if g.kind in together and g.name in widths]
            if groups:
                scores = self.scores(encoder, groups)
                chosen = {g.name: top(scores[g.name], widths[g.name]) for g in groups}
                encoder = cut_encoder(encoder, chosen)
                kept |= chosen
        return kept

    def scores(self, encoder: ImageEncoder, groups: Sequence[ChannelGroup]) -> dict[str, Tensor]:
        """(size,) scores by group name, the same in every process.

        Raises:
            InputError: the criterion answers something else.
        """
        if not groups:
            return {}
        found = criteria[self.config.importance](CriterionInputs(self, encoder, groups))
        for group in groups:
            fault = _fault(found.get(group.name), group)
            if fault:
                raise InputError(
                    f"criterion {self.config.importance} has {fault}; expected one number for each channel of each "
                    "group, by the group's name"
                )
        return {g.name: found[g.name] for g in groups}

    def _shared(self, items: Iterable[T]) -> Iterator[tuple[int, T]]:
        """This process's share of the images, numbered, under a progress bar."""
        total = min(self.config.scoring_images, len(self.photographs.paths))
        with progress_bar("scoring channels", "image", total, shown=self.engine.is_main) as bar:
            for number, item in enumerate(items):
                if number % self.engine.world == self.engine.rank:
                    yield number, item
                bar.update()


class CriterionInputs:
    """What a criterion may look at.

    Attributes:
        groups: whose channels are to be scored.
        config: settings.
        teacher: the model; its decoder reads embeddings.
        engine: the processes of the run; sum over them with `engine.sum`.
    """

    def __init__(self, scorer: Scorer, encoder: ImageEncoder, groups: Sequence[ChannelGroup]) -> None:
        self._scorer, self._original = scorer, encoder
        self.groups, self.config, self.teacher, self.engine = groups, scorer.config, scorer.teacher, scorer.engine

    @cached_property
    def encoder(self) -> ImageEncoder:
        """A copy of the encoder that is to be cut, with gradients."""
        return copy.deepcopy(self._original).requires_grad_(True)

    @cached_property
    def parameters(self) -> dict[str, Tensor]:
        """The weights of that copy that the groups run along, by name."""
        return group_parameters(self.encoder, self.groups)

    def images(self) -> Iterator[tuple[int, Tensor]]:
        """This process's share of the scoring photographs: number, and (1, 3, S, S) on the device."""
        photographs = self._scorer.photographs.sample(self.config.scoring_images)
        return ((i, p.image[None].to(self.engine.device)) for i, p in self._scorer._shared(photographs))

    def labelled(self) -> tuple[Sam, Iterator[tuple[int, Labelled]]]:
        """The teacher with the copy of the encoder, and photographs with masks."""
        labels, scorer = self._scorer.labels, self._scorer
        if labels is None:
            raise InputError(
                f"criterion {self.config.importance} reads labelled masks and none were given; name an annotated "
                "dataset (--labels)"
            )
        sam = with_encoder(self.teacher, self.encoder)
        size = scorer.photographs.image_size
        return sam, scorer._shared(labelled_sample(labels, self.config.scoring_images, size, sam, self.config.seed))


def _fault(scores: Tensor | None, group: ChannelGroup) -> str:
    """What is wrong with a criterion's scores of a group; empty if nothing is."""
    if scores is None:
        return f"no scores of {group.name}"
    if tuple(scores.shape) != (group.size,):
        return f"scores of {group.name} of the shape {tuple(scores.shape)}, and the group has {group.size} channels"
    if scores.isnan().any():
        return f"scores of {group.name} that are NaN"
    return ""


@criteria.built_in("random")
def _random(given: CriterionInputs) -> dict[str, Tensor]:
    return random_scores(given.groups, given.config.seed)


@criteria.built_in("magnitude")
def _magnitude(given: CriterionInputs) -> dict[str, Tensor]:
    return channel_scores(magnitude(given.parameters), given.groups)


@criteria.built_in("taylor")
def _taylor(given: CriterionInputs) -> dict[str, Tensor]:
    sam, samples = given.labelled()
    with given.engine.compute():
        gradients = labelled_gradients(sam, samples, given.parameters)
        return channel_scores(score_weights(given.parameters, gradients, given.engine.sum), given.groups)


def _disturbed(given: CriterionInputs) -> Iterator[Gradients]:
    return disturbed_gradients(given.encoder, given.images(), given.parameters, given.config.seed)


@criteria.built_in("disturbed-taylor")
def _disturbed_taylor(given: CriterionInputs) -> dict[str, Tensor]:
    with given.engine.compute():
        return channel_scores(score_weights(given.parameters, _disturbed(given), given.engine.sum), given.groups)


@criteria.built_in("hessian")
def _hessian(given: CriterionInputs) -> dict[str, Tensor]:
    with given.engine.compute():
        return fisher_scores(given.parameters, _disturbed(given), given.groups, given.engine.sum)

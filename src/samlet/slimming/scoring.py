"""From a criterion and photographs to the channels that stay."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from torch import Tensor

from samlet.data.datasets import Dataset
from samlet.models import ChannelGroup, ImageEncoder, Sam
from samlet.runs.distributed import DistributedContext
from samlet.runs.log import progress_bar
from samlet.slimming.config import SlimConfig
from samlet.slimming.importance import (
    channel_scores,
    disturbed_gradients,
    fisher_scores,
    group_parameters,
    labelled_gradients,
    magnitude,
    random_scores,
    score_weights,
)
from samlet.slimming.labels import labelled_sample
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
        if "bottleneck" in kinds and config.cuts_heads:
            heads = [g for g in encoder.channel_groups() if g.kind == "head"]
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
        """(size,) scores by group name, the same in every process."""
        config = self.config
        if config.importance == "random":
            return random_scores(groups, config.seed)
        encoder = copy.deepcopy(encoder).requires_grad_(True)
        parameters = group_parameters(encoder, groups)
        if config.importance == "magnitude":
            return channel_scores(magnitude(parameters), groups)
        if config.importance == "taylor":
            assert self.labels is not None
            sam = with_encoder(self.teacher, encoder)
            labelled = labelled_sample(
                self.labels, config.scoring_images, self.photographs.image_size, sam, config.seed
            )
            gradients = labelled_gradients(sam, self._shared(labelled), parameters)
        else:
            photographs = self.photographs.sample(config.scoring_images)
            images = ((i, p.image[None].to(self.engine.device)) for i, p in self._shared(photographs))
            gradients = disturbed_gradients(encoder, images, parameters, config.seed)
        with self.engine.compute():
            if config.importance == "hessian":
                return fisher_scores(parameters, gradients, groups, self.engine.sum)
            return channel_scores(score_weights(parameters, gradients, self.engine.sum), groups)

    def _shared(self, items: Iterable[T]) -> Iterator[tuple[int, T]]:
        """This process's share of the images, numbered, under a progress bar."""
        total = min(self.config.scoring_images, len(self.photographs.paths))
        with progress_bar("scoring channels", "image", total, shown=self.engine.is_main) as bar:
            for number, item in enumerate(items):
                if number % self.engine.world == self.engine.rank:
                    yield number, item
                bar.update()

"""The two graphs of an exported model: what each takes and gives, and the session that runs it."""

from __future__ import annotations

from typing import Any

import torch

from samlet.models import SamConfig
from samlet.models.decoders import DECODERS
from samlet.runtimes.manifest import Manifest
from samlet.runtimes.registry import RUNTIMES
from samlet.runtimes.sessions import Arrays, Interface, Port, Session


def embedding_names(config: SamConfig) -> tuple[str, ...]:
    """Names that the maps of an embedding have in the graphs, the coarsest first: `embedding`, `fine_0`, `fine_1`."""
    return ("embedding", *(f"fine_{level}" for level in range(len(config.encoder.fine_channels))))


def _embedding_ports(config: SamConfig, images: int | None) -> tuple[Port, ...]:
    channels = (config.encoder.out_channels, *config.encoder.fine_channels)
    return tuple(
        Port(name, (images, count, None, None)) for name, count in zip(embedding_names(config), channels, strict=True)
    )


def encoder_interface(manifest: Manifest) -> Interface:
    """`image` (N, 3, H, W), normalised, to the maps of the embedding (N, C, h, w)."""
    return Interface(inputs=(Port("image", (None, 3, None, None)),), outputs=_embedding_ports(manifest.config, None))


def decoder_interface(manifest: Manifest) -> Interface:
    """Embedding, clicks and corners, and an earlier mask to `low_res` (P, M, 4h, 4w) and `iou` (P, M).

    Finer maps come beside the embedding where the decoder takes them. EfficientSAM takes no masks. Graphs that also
    draw masks at full size ask for that size.
    """
    config = manifest.config
    prompts, points, masks = manifest.prompt_batch, manifest.points, 1 + config.decoder.num_multimask_outputs
    of_a_mask = set() if DECODERS[config.decoder.style].takes_masks else {"mask", "has_mask"}
    return Interface(
        inputs=(
            *_embedding_ports(config, 1),
            Port("points", (prompts, points, 2)),
            Port("labels", (prompts, points), "int64"),
            Port("mask", (None, 1, None, None)),
            Port("has_mask", (1,)),
            Port("original_size", (2,), "int64"),
        ),
        outputs=(Port("low_res", (prompts, masks, None, None)), Port("iou", (prompts, masks))),
        optional=frozenset({"original_size", *of_a_mask}),
        varying={"points": (0, 1), "labels": (0, 1), "mask": (0,)},
    )


class Graph:
    """A graph and its session, which is opened again where the number of threads has changed.

    Args:
        manifest: of the exported model.
        part: `encoder` or `decoder`.
        threads: of the CPU; as many as torch has at the time if None.
    """

    def __init__(self, manifest: Manifest, part: str, threads: int | None) -> None:
        self.path = manifest.path(part)
        self._manifest, self._threads = manifest, threads
        self._interface = encoder_interface(manifest) if part == "encoder" else decoder_interface(manifest)
        self._opened: tuple[int, Session] | None = None

    def session(self) -> Session:
        """The session for the present number of threads.

        Raises:
            CheckpointError: a damaged file, or another graph.
            InputError: the runtime is not installed.
        """
        threads = self._threads or torch.get_num_threads()
        if self._opened is None or self._opened[0] != threads:
            self.close()
            about = self._manifest
            precision = "bf16" if about.precision == "bfloat16" else about.runtime_precision or "f32"
            session = RUNTIMES[about.target].open(self.path, self._interface, threads, precision)
            self._interface.check(session, self.path)
            self._opened = threads, session
        return self._opened[1]

    def run(self, inputs: Arrays) -> Arrays:
        """Outputs of the graph for those of the arrays that it takes."""
        session = self.session()
        return session.run({port.name: inputs[port.name] for port in session.inputs})

    def batch_of(self, name: str) -> int | None:
        """The first size of an input where the graph says one."""
        return next((port.shape[0] for port in self.session().inputs if port.name == name), None)

    def close(self) -> None:
        """Give the session back."""
        if self._opened is not None:
            self._opened[1].close()
            self._opened = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}  # another process opens its own

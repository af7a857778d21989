"""An exported model as a model like any other: graphs that another runtime runs, behind the interface of `Sam`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samlet.errors import CheckpointError, InputError
from samlet.io.paths import expanded
from samlet.models import DecoderOutput, Embedding, Sam, SamConfig, embedding_of, joined, maps_of
from samlet.models.config import Resize
from samlet.models.decoders import DECODERS
from samlet.models.sam import check_images, stability
from samlet.runtimes.graphs import Graph, embedding_names
from samlet.runtimes.manifest import read_manifest
from samlet.runtimes.prompts import Clicks
from samlet.runtimes.sessions import REMEDY, Session
from samlet.runtimes.shared_weights import read_shared_weights

_TOGETHER = 8  # prompts decoded together where the graph takes any number: more fall out of a CPU's cache


class ExportedSam:
    """A model in the graphs of ONNX, OpenVINO or ExecuTorch: a `samlet.models.PromptableModel` on the CPU.

    It is used as a `Sam` is, and has no weights that could be trained or saved. It can be sent to other processes,
    which open the graphs anew.

    Args:
        folder: an exported model.
        threads: of the CPU; as many as torch has at the time if None.

    Attributes:
        manifest: what the folder says about itself.

    Raises:
        CheckpointError: the folder is incomplete or damaged.
        InputError: the runtime is not installed, or fewer than one thread.
    """

    def __init__(self, folder: str | Path, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise InputError(f"threads is {threads}; expected at least 1")
        self.manifest = read_manifest(expanded(folder).resolve())
        self._mean, self._std = (
            torch.tensor(values).view(3, 1, 1) for values in (self.config.pixel_mean, self.config.pixel_std)
        )
        self._encoder, self._decoder = (Graph(self.manifest, part, threads) for part in ("encoder", "decoder"))
        for graph in (self._encoder, self._decoder):
            graph.session()
        self._weights: Sam | None = None

    @property
    def config(self) -> SamConfig:
        """Of the model that it was made from."""
        return self.manifest.config

    @property
    def sessions(self) -> dict[str, Session]:
        """The graphs of `encoder` and `decoder`, ready to run: what each takes and gives."""
        return {"encoder": self._encoder.session(), "decoder": self._decoder.session()}

    @property
    def preprocessing(self) -> tuple[Tensor, Tensor, Resize]:
        """As `Sam.preprocessing`."""
        return self._mean, self._std, self.config.resize

    @property
    def has_single_mask(self) -> bool:
        """As `Sam.has_single_mask`."""
        return DECODERS[self.config.decoder.style].has_single_mask

    @property
    def image_size(self) -> int:
        """Side of its square input, pixels: the model's own, or the largest where it was exported without that."""
        own, sizes = self.config.encoder.image_size, self.manifest.image_sizes
        return own if sizes is None or own in sizes else max(sizes)

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """Of what goes in and comes out: float32, whatever the graphs compute in."""
        return torch.float32

    def decoder_weights(self) -> Sam | None:
        """As `Sam.decoder_weights`: what stands beside the graph for everything mode; None without that file.

        Raises:
            CheckpointError: the file is damaged.
        """
        path = self.manifest.shared_weights
        if self._weights is None and path is not None:
            self._weights = read_shared_weights(path, self.config)
        return self._weights

    def fingerprint(self) -> str:
        """SHA-256 over the graphs and what is read from `export.json`."""
        about = self.manifest
        said = [about.target, about.precision, about.runtime_precision, self.config.to_dict()]
        digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
        for path in about.paths:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    def check_image_size(self, image_size: int | None) -> int:
        """A side of the square input, pixels; `image_size` of the model for None.

        Raises:
            InputError: the graphs do not take that size.
        """
        size, sizes = self.image_size if image_size is None else image_size, self.manifest.image_sizes
        if sizes is None:
            return self.config.check_image_size(size)
        if size not in sizes:
            taken = ", ".join(map(str, sorted(sizes)))
            raise InputError(
                f"image size {size} is not allowed; this exported model takes {taken} only, so ask for that, or export "
                "the model again for more sizes"
            )
        return size

    def encode(self, images: Tensor) -> Embedding:
        """As `Sam.encode`.

        Raises:
            InputError: images of a shape that the graph does not take.
            CheckpointError: the graph cannot be run, or answers in another shape.
        """
        sizes = self.manifest.image_sizes
        check_images(images, self.config.encoder.multiple)
        height, width = images.shape[2:]
        if sizes is not None and (height != width or width not in sizes):
            taken = ", ".join(map(str, sorted(sizes)))
            raise InputError(f"images are {width} wide and {height} high; expected squares, {taken} pixels a side")
        names, shapes = embedding_names(self.config), self.config.encoder.map_shapes(height, width)
        wanted = {name: (1, *shape) for name, shape in zip(names, shapes, strict=True)}
        found = []
        for image in images.split(1):
            answer = self._checked(self._encoder, {"image": _array(image)}, **wanted)
            found.append(embedding_of([torch.from_numpy(answer[name]) for name in names]))
        return found[0] if len(found) == 1 else joined(found)

    def decode(
        self,
        embedding: Embedding,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> DecoderOutput:
        """As `Sam.decode`, a few prompts at a time, and without tokens.

        Raises:
            InputError: a mask for a model that takes none, or more points than the graph takes.
            CheckpointError: the graph cannot be run, or answers in other shapes.
        """
        if masks is not None and not DECODERS[self.config.decoder.style].takes_masks:
            raise InputError("EfficientSAM takes no mask prompts; expected points or boxes")
        clicks = Clicks.of(points, labels, boxes, masks).with_length(self.manifest.points)
        if len(embedding) == 1:
            found = self._answers(embedding, clicks)
        else:  # an image a prompt
            pairs = zip(embedding.split(1), clicks.parts(1), strict=True)
            found = [answer for image, part in pairs for answer in self._answers(image, part)]
        low_res, iou = (torch.cat(parts) for parts in zip(*found, strict=True))
        if self.config.score == "stability":
            iou = stability(low_res, self.config.mask_threshold)
        return DecoderOutput(low_res=low_res, iou=iou, tokens=low_res.new_empty(0))

    def _answers(self, embedding: Embedding, clicks: Clicks) -> list[tuple[Tensor, Tensor]]:
        """Low-res logits and predicted IoU of prompts on one image, by parts."""
        rows, together = self._decoder.batch_of("mask"), self.manifest.prompt_batch or _TOGETHER
        if rows == 1 and clicks.masks is not None:  # such a graph takes one mask for all prompts
            together = 1
        height, width = (4 * side for side in embedding.shape[2:])
        outputs = 1 + self.config.decoder.num_multimask_outputs
        found = []
        for part in clicks.parts(together):
            count = len(part.points)
            filled = part.with_count(self.manifest.prompt_batch or count)
            masks = torch.zeros(rows or 1, 1, height, width) if filled.masks is None else filled.masks[:rows]
            inputs = {
                **dict(zip(embedding_names(self.config), map(_array, maps_of(embedding)), strict=True)),
                "points": _array(filled.points),
                "labels": filled.labels.numpy(),
                "mask": _array(masks),
                "has_mask": np.array([filled.masks is not None], np.float32),
                "original_size": np.array([height, width], np.int64),
            }
            shape = (len(filled.points), outputs)
            answer = self._checked(self._decoder, inputs, low_res=(*shape, height, width), iou=shape)
            low_res, iou = (torch.from_numpy(answer[name])[:count] for name in ("low_res", "iou"))
            found.append((low_res, iou))
        return found

    @staticmethod
    def _checked(graph: Graph, inputs: dict[str, NDArray], **shapes: tuple[int, ...]) -> dict[str, NDArray]:
        """What a graph answers, in the shapes expected."""
        found = graph.run(inputs)
        for name, shape in shapes.items():
            if found[name].shape != shape:
                raise CheckpointError(
                    f"{graph.path} answers with {name} {found[name].shape}; expected {shape}; {REMEDY}"
                )
        return found

    def eval(self) -> Self:
        """The model itself: graphs have no other mode."""
        return self

    def to(self, device: torch.device | str) -> Self:
        """The model itself.

        Raises:
            InputError: any device but the CPU.
        """
        if torch.device(device).type != "cpu":
            raise InputError(f"device {device} was asked for, and an exported model runs on the CPU; use cpu")
        return self


def _array(values: Tensor) -> NDArray[np.float32]:
    """A tensor as contiguous float32, copied only where it must be."""
    return np.ascontiguousarray(values.detach().cpu().numpy(), np.float32)

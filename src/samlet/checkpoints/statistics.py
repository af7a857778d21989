"""Mean and deviation of pixels, where a file or a folder says them: they are part of the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samlet.checkpoints.reading import StateDict, read_json
from samlet.errors import CheckpointError
from samlet.io.schema import is_number, shown
from samlet.models import SamConfig

PREPROCESSOR = "preprocessor_config.json"
PIXELS = ("pixel_mean", "pixel_std")
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_FACTOR = 1 / 255


def taken_from(tensors: StateDict, path: Path) -> tuple[StateDict, dict[str, tuple[float, ...]]]:
    """A state dict without the buffers `pixel_mean` and `pixel_std`, and what they say, as fields of `SamConfig`.

    Raises:
        CheckpointError: one without the other, or not three numbers.
    """
    there = [name for name in PIXELS if name in tensors]
    if not there:
        return tensors, {}
    found = {name: tuple(float(value) for value in tensors[name].flatten()[:4]) for name in there}
    if len(there) < len(PIXELS) or any(len(values) != 3 for values in found.values()):
        raise CheckpointError(f"{path} holds {found}; expected pixel_mean and pixel_std of three numbers each")
    _check(found, path)
    return {name: value for name, value in tensors.items() if name not in PIXELS}, found


def _check(found: Mapping[str, tuple[float, ...]], path: Path) -> None:
    flat = [*found["pixel_mean"], *found["pixel_std"]]
    if not all(map(math.isfinite, flat)) or min(found["pixel_std"]) <= 0:
        raise CheckpointError(f"{path} says {dict(found)}; expected finite numbers, and deviations above 0")


def from_folder(folder: Path, image_size: int, stretch: bool) -> dict[str, tuple[float, ...]]:
    """What a folder's `preprocessor_config.json` says, as fields of `SamConfig`; nothing without one.

    Args:
        folder: of a `SamModel` or `Sam2Model`.
        image_size: side of the encoder's input that its config says.
        stretch: whether images are stretched to the square, as SAM 2's are.

    Raises:
        CheckpointError: it asks for something that samlet does not do.
    """
    path = folder / PREPROCESSOR
    if not path.is_file():
        return {}
    said = read_json(path)
    if "image_processor" in said and isinstance(said["image_processor"], dict):
        said = said["image_processor"]
    if said.get("do_resize") is False or said.get("do_pad") is False:
        raise CheckpointError(f"{path} turns resizing or padding off, without which no SAM works; expected true")
    size = said.get("size")
    expected: Any = {"height": image_size, "width": image_size} if stretch else {"longest_edge": image_size}
    if size is not None and size != expected and size != image_size:
        raise CheckpointError(f"{path} resizes images to {shown(size)}; expected {expected}, the size in config.json")
    pad = said.get("pad_size")
    if not stretch and pad is not None and pad not in (image_size, {"height": image_size, "width": image_size}):
        raise CheckpointError(f"{path} pads images to {shown(pad)}; expected {image_size}, the size in config.json")
    factor = said.get("rescale_factor", _FACTOR) if said.get("do_rescale", True) is not False else 1.0
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < math.inf:
        raise CheckpointError(f"{path} has rescale_factor {shown(factor)}; expected a number such as 1/255")
    if said.get("do_normalize", True) is False:
        mean, std = [0.0] * 3, [1.0] * 3
    else:
        mean, std = said.get("image_mean") or list(_MEAN), said.get("image_std") or list(_STD)
    for name, values in (("image_mean", mean), ("image_std", std)):
        numbers = isinstance(values, list) and all(is_number(value) for value in values)
        if not numbers or len(values) != 3:
            raise CheckpointError(f"{path} has {name} {shown(values)}; expected three numbers")
    scale = 1 / factor if not math.isclose(factor, _FACTOR, rel_tol=1e-6) else 255.0
    found = {
        "pixel_mean": tuple(round(value * scale, 9) for value in mean),
        "pixel_std": tuple(round(value * scale, 9) for value in std),
    }
    _check(found, path)
    return found


def preprocessor(config: SamConfig) -> dict[str, Any]:
    """`preprocessor_config.json` of a `SamModel`, which `SamProcessor.from_pretrained` reads."""
    side = config.encoder.image_size
    return {
        "image_processor_type": "SamImageProcessor",
        "processor_class": "SamProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "do_pad": True,
        "rescale_factor": _FACTOR,
        "image_mean": [round(value / 255, 9) for value in config.pixel_mean],
        "image_std": [round(value / 255, 9) for value in config.pixel_std],
        "resample": 2,
        "size": {"longest_edge": side},
        "pad_size": {"height": side, "width": side},
        "mask_size": {"longest_edge": side // 4},
        "mask_pad_size": {"height": side // 4, "width": side // 4},
    }

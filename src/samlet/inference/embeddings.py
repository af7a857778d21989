"""Image embeddings in files, tied to the model and the picture that they belong to."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from samlet.data.images import RGBImage
from samlet.data.transforms import Frame
from samlet.errors import InputError
from samlet.io.writing import new_file
from samlet.models import Embedding, PromptableModel, embedding_of, maps_of

_FORMAT = "samlet image embedding 1"


def digest(image: RGBImage) -> str:
    """SHA-256 of a picture's size and pixels (H, W, 3)."""
    found = hashlib.sha256(str(image.shape).encode())
    found.update(np.ascontiguousarray(image).data)
    return found.hexdigest()


def write(path: Path, embedding: Embedding, frame: Frame, picture: str, model: PromptableModel) -> None:
    """Write one image's embedding; raises InputError where something is at `path`."""
    if path.exists():
        raise InputError(f"{path} exists; nothing was written. Name a new file")
    about = {
        "format": _FORMAT,
        "model": model.fingerprint(),
        "picture": picture,
        "image_size": str(frame.image_size),
        "height": str(frame.height),
        "width": str(frame.width),
        "resize": frame.resize,
    }
    maps = {f"map.{number}": one.detach().cpu().contiguous() for number, one in enumerate(maps_of(embedding))}
    with new_file(path) as temporary:
        save_file(maps, temporary, metadata=about)


def read(path: Path, model: PromptableModel, image_size: int, picture: str | None) -> tuple[Embedding, Frame, str]:
    """An embedding for a model, its frame and its picture's digest.

    Raises:
        InputError: no such file, or one of another model, image size or picture.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file; expected one that save_embedding wrote")
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            maps = [file.get_tensor(name) for name in sorted(file.keys())]
        if about.get("format") != _FORMAT:
            raise InputError(f"{path} holds no image embedding; expected a file that save_embedding wrote")
        size = int(about["image_size"])
        frame = Frame(int(about["height"]), int(about["width"]), size, about["resize"])
    except InputError:
        raise
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}; write it again with save_embedding") from error
    if about["model"] != model.fingerprint():
        raise InputError(f"{path} is of another model ({about['model'][:12]}…); expected {model.fingerprint()[:12]}…")
    if size != image_size:
        raise InputError(f"{path} is of image size {size}, and this predictor has {image_size}; use the same")
    if picture is not None and about["picture"] != picture:
        raise InputError(f"{path} is of another picture; set_image encodes this one")
    dtype = getattr(model, "dtype", torch.float32)
    return embedding_of([one.to(model.device, dtype) for one in maps]), frame, about["picture"]

"""Images to work through in order: those of a folder, or the frames of a video."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from samlet.bounds import EVERY
from samlet.data.folders import survey
from samlet.data.images import RGBImage, count_pages, current_reading, read_image
from samlet.errors import InputError
from samlet.io.paths import expanded

VIDEO_EXTENSIONS = frozenset({".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg"})


@dataclass(frozen=True)
class Entry:
    """One image of a source.

    Attributes:
        name: what it is called in results: the path inside the folder, or the frame's number.
        content: its file, or its pixels (H, W, 3) RGB.
        page: of a file with several, from 1 on.
    """

    name: str
    content: Path | RGBImage
    page: int | None = None

    def read(self) -> RGBImage:
        """The pixels (H, W, 3) RGB; raises InputError for a file that is no image."""
        if isinstance(self.content, Path):
            return read_image(self.content, page=self.page)
        return self.content


@dataclass(frozen=True)
class Source:
    """Images in a fixed order.

    Attributes:
        path: what the user named.
        count: how many images there are; None where nobody knows before the end.
        passed_over: why other files of the folder are no photographs, by their path in it.
    """

    path: Path
    count: int | None
    _entries: Callable[[], Iterator[Entry]]
    passed_over: Mapping[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Entry]:
        return self._entries()

    def head(self, limit: int) -> Source:
        """The first `limit` images."""
        count = None if self.count is None else min(self.count, limit)
        return Source(self.path, count, lambda: itertools.islice(self._entries(), limit), self.passed_over)


def open_source(path: str | Path, every: int = 1) -> Source:
    """Open a folder of images or a video.

    Args:
        path: folder, or video file.
        every: of a video's frames, take the first of each so many.

    Raises:
        InputError: neither, no image in it, or `every` below 1.
    """
    path = expanded(path)
    EVERY.check("every", every)
    if path.is_file() and path.suffix.lower() in VIDEO_EXTENSIONS:
        return _open_video(path, every)
    if path.is_file():
        kinds = ", ".join(sorted(VIDEO_EXTENSIONS))
        raise InputError(f"{path} is neither a folder nor a video; expected a folder of images, or a file in {kinds}")
    found = survey(path)
    entries = [entry for image in found.images for entry in _pages(image.relative_to(path).as_posix(), image)]
    passed_over = {other.relative_to(path).as_posix(): reason for other, reason in found.passed_over.items()}
    return Source(path, len(entries), lambda: iter(entries), passed_over)


def _pages(name: str, image: Path) -> list[Entry]:
    """The pages of a TIFF as images of their own, unless one is asked for; any other file as it is."""
    many = image.suffix.lower() in (".tif", ".tiff") and current_reading().page is None
    pages = count_pages(image) if many else 1
    if pages == 1:
        return [Entry(name, image)]
    stem, dot, ending = name.rpartition(".")
    return [Entry(f"{stem}-page-{page:04d}{dot}{ending}", image, page=page) for page in range(1, pages + 1)]


def is_image_file(path: Path) -> bool:
    """Whether a path names one image rather than a folder or a video."""
    return not (path.is_dir() or path.suffix.lower() in VIDEO_EXTENSIONS)


def _open_video(path: Path, every: int) -> Source:
    try:
        import av
    except ImportError as error:
        raise InputError(f"{path} is a video, and PyAV is not installed; run: pip install 'samlet[video]'") from error

    def frames() -> Iterator[Entry]:
        try:
            with av.open(str(path)) as container:
                if not container.streams.video:
                    raise InputError(f"{path} holds no video stream; expected a video")
                for number, frame in enumerate(container.decode(video=0)):
                    if number % every == 0:
                        yield Entry(f"frame-{number:06d}.png", np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
        except av.FFmpegError as error:
            raise InputError(f"{path} cannot be decoded: {error}; convert it, for instance to MP4") from error

    try:
        with av.open(str(path)) as container:
            total = container.streams.video[0].frames if container.streams.video else 0
    except av.FFmpegError as error:
        raise InputError(f"{path} cannot be opened as a video: {error}; convert it, for instance to MP4") from error
    return Source(path, -(-total // every) or None, frames)

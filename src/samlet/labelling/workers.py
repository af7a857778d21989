"""Everything mode over many images: in this process with images read ahead, or in several processes."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

import torch
from torch import multiprocessing as torch_multiprocessing

from samlet.bounds import WORKERS
from samlet.data.images import Reading, RGBImage, current_reading, set_reading
from samlet.data.sources import Entry
from samlet.errors import InputError, SamletError
from samlet.inference.everything.generator import Everything, MaskGenerator
from samlet.inference.sam_segmenter import as_segmenter
from samlet.inference.segmenter import AnyModel, Segmenter
from samlet.models import PromptableModel

_DIED = (
    'a worker process died. In a script of your own, put what starts workers under `if __name__ == "__main__":`, for '
    "each of them runs the script's top level again; or it was for lack of memory: use fewer workers"
)
_MAX_WORKERS = 8  # each holds a model and its features, about 0.7 GB

_generator: MaskGenerator | None = None  # of a worker process


def segment_many(
    model: AnyModel, entries: Iterable[Entry], workers: int | None = None, **options: Any
) -> Iterator[tuple[Entry, Everything | str]]:
    """Masks of images, in the order of the images, as they come.

    On a CPU every worker of a `Sam`, exported or not, computes with one thread: that is the best use of the cores, and
    the number of threads changes the last bits of sums, so that otherwise single pixels would depend on the number of
    workers. Any other model works in this process, with the threads that it was opened with.

    Args:
        model: the model.
        entries: the images.
        workers: processes; with 1 or None the work is done in this one. Several need a script whose top level starts
            nothing: `if __name__ == "__main__":`.
        **options: of everything mode: of a `Sam`, fields of `EverythingOptions`.

    Yields:
        An image and its masks, or why it has none.

    Raises:
        InputError: fewer than one worker, several for a model that is no `Sam`, or options that cannot be.
        SamletError: a worker process died.
    """
    if workers is not None:
        WORKERS.check("workers", workers)
    segmenter = as_segmenter(model)
    settings, sam = segmenter.everything_settings(**options), segmenter.promptable
    if sam is None:
        if workers is not None and workers > 1:
            raise InputError(
                f"workers is {workers}; expected 1 for a model that ONNX Runtime runs, for it uses all threads itself"
            )
        yield from _in_this_process(partial(_ask, segmenter, options), entries)
        return
    if workers is None:
        workers = 1
    generator = MaskGenerator(sam, **settings)
    if workers == 1:
        with _one_thread(sam):
            yield from _in_this_process(generator, entries)
        return
    context = torch_multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (sam, settings, current_reading())) as pool:
        try:
            yield from _in_order(pool, entries, 2 * workers, _work)
        except BrokenProcessPool as error:
            raise SamletError(_DIED) from error


def all_cores(model: AnyModel) -> int:
    """As many workers as torch has threads, 8 at most; 1 on a GPU, and for a model that uses all threads itself."""
    sam = as_segmenter(model).promptable
    return 1 if sam is None or sam.device.type != "cpu" else min(torch.get_num_threads(), _MAX_WORKERS)


def _ask(segmenter: Segmenter, options: dict[str, Any], image: RGBImage) -> Everything:
    segmenter.set_image(image)
    return segmenter.everything(**options)


def _in_this_process(
    generate: Callable[[RGBImage], Everything], entries: Iterable[Entry]
) -> Iterator[tuple[Entry, Everything | str]]:
    """Images one by one, the next ones read meanwhile."""
    with ThreadPoolExecutor(1) as reader:
        for entry, image in _in_order(reader, entries, 2, _read):
            yield entry, image if isinstance(image, str) else _segment(generate, image)


@contextlib.contextmanager
def _one_thread(sam: PromptableModel) -> Iterator[None]:
    threads = torch.get_num_threads()
    if sam.device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _in_order(
    pool: Executor, entries: Iterable[Entry], ahead: int, work: Callable[[Entry], Any]
) -> Iterator[tuple[Entry, Any]]:
    """Results of work on entries, in their order; so many are under way or waiting at once."""
    source = iter(entries)
    waiting: deque[tuple[Entry, Future]] = deque()
    try:
        while True:
            for entry in itertools.islice(source, ahead - len(waiting)):
                waiting.append((entry, pool.submit(work, entry)))
            if not waiting:
                return
            entry, future = waiting.popleft()
            yield entry, future.result()
    finally:
        for _, future in waiting:
            future.cancel()


def _read(entry: Entry) -> RGBImage | str:
    try:
        return entry.read()
    except InputError as error:
        return str(error)


def _segment(generate: Callable[[RGBImage], Everything], image: RGBImage) -> Everything | str:
    try:
        return generate(image)
    except (RuntimeError, MemoryError, InputError) as error:  # one image must not end a run over thousands
        return (str(error).splitlines() or [type(error).__name__])[0]


def _start_worker(sam: PromptableModel, options: dict[str, Any], chosen: Reading) -> None:
    global _generator
    threading.Thread(target=_end_with_parent, daemon=True).start()
    set_reading(chosen)
    torch.set_num_threads(1)
    _generator = MaskGenerator(sam, **options)


def _end_with_parent() -> None:
    """A worker whose parent was killed has nobody to work for."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(entry: Entry) -> Everything | str:
    assert _generator is not None
    image = _read(entry)
    return image if isinstance(image, str) else _segment(_generator, image)

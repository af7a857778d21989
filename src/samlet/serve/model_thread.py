"""The one thread that runs the model: it takes what waits, and answers prompts on one picture together.

Prompts and pictures go before everything mode, which takes seconds and would make every click wait.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import torch

from samlet.data.masks import bounding_box, encode_rle
from samlet.errors import InputError
from samlet.inference.everything.generator import Everything, MaskGenerator
from samlet.inference.prediction import Prediction
from samlet.inference.predictor import Predictor
from samlet.models import PromptableModel, maps_of
from samlet.serve.cache import Cache, Held
from samlet.serve.errors import RequestError
from samlet.serve.pictures import decode_picture
from samlet.serve.settings import ServeSettings


@dataclass(frozen=True)
class Prompt:
    """What is asked of one object.

    Attributes:
        points: x, y in pixels of the picture.
        labels: 1 foreground, 0 background, one a point.
        box: x0, y0, x1, y1, or None.
        multimask: whether the best of the three masks is meant, or the single one.
    """

    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    multimask: bool = True

    @property
    def kind(self) -> tuple[bool, bool, bool]:
        """Prompts of one kind can be decoded together."""
        return bool(self.points), self.box is not None, self.multimask


@dataclass
class _Job:
    run: Callable[[], Any] | None
    deadline: float
    identity: str = ""
    prompts: Sequence[Prompt] = ()
    future: Future[Any] = field(default_factory=Future)


class ModelThread:
    """The model's thread with its queue and its cache.

    Args:
        model: the model.
        settings: limits.
    """

    def __init__(self, model: PromptableModel, settings: ServeSettings) -> None:
        self.model, self.settings = model, settings
        self.image_size = model.check_image_size(settings.image_size)
        self.cache = Cache(settings.cache_images, settings.cache_bytes)
        self.batches = self.batched = 0
        self._first: deque[_Job] = deque()
        self._later: deque[_Job] = deque()
        self._wake = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread when it has done what it does; what waits is given up."""
        with self._wake:
            self._stopped = True
            waiting = [*self._first, *self._later]
            self._first.clear()
            self._later.clear()
            self._wake.notify()
        for job in waiting:
            job.future.cancel()
        self._thread.join()

    @property
    def waiting(self) -> int:
        """Requests that wait for the model."""
        return sum(not job.future.cancelled() for queue in (self._first, self._later) for job in list(queue))

    def encode(self, content: bytes) -> Future[Held]:
        """The embedding of a picture, which is then held."""
        return self._submit(_Job(lambda: self._encode(content), self._deadline()), self._first)

    def masks(self, identity: str, prompts: Sequence[Prompt]) -> Future[list[dict[str, Any]]]:
        """One mask for each prompt on a picture that is held."""
        return self._submit(_Job(None, self._deadline(), identity, tuple(prompts)), self._first)

    def everything(self, identity: str, options: dict[str, Any]) -> Future[Everything]:
        """All masks of a picture that is held."""
        return self._submit(_Job(lambda: self._everything(identity, options), self._deadline()), self._later)

    def _deadline(self) -> float:
        return time.monotonic() + self.settings.timeout_s

    def _submit(self, job: _Job, queue: deque[_Job]) -> Future[Any]:
        with self._wake:
            if self._stopped:
                raise RequestError(503, "the service is stopping; try another time")
            if self.waiting >= self.settings.max_waiting:
                raise RequestError(503, f"{self.waiting} requests wait already, which is as many as may; try again")
            queue.append(job)
            self._wake.notify()
        return job.future

    def held(self, identity: str) -> Held:
        """A picture that is held; RequestError (404) for any other."""
        found = self.cache.get(identity)
        if found is None:
            raise RequestError(404, f"no picture {identity[:64]!r} is held, or no longer; send it again to /images")
        return found

    @torch.inference_mode()
    def _work(self) -> None:
        while True:
            with self._wake:
                while not (self._first or self._later or self._stopped):
                    self._wake.wait()
                if self._stopped:
                    return
                jobs = self._take()
            ready = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            late = [job for job in ready if time.monotonic() > job.deadline]
            for job in late:
                job.future.set_exception(RequestError(503, "the time for this request is over; try again"))
            ready = [job for job in ready if job not in late]
            if ready and ready[0].run is None:
                self._answer_together(ready)
            elif ready:
                self._answer(ready[0], ready[0].run)

    def _take(self) -> list[_Job]:
        """The next job; with prompts all that can be decoded together with them."""
        job = (self._first or self._later).popleft()
        if job.run is not None:
            return [job]
        taken, count = [job], len(job.prompts)
        for other in list(self._first):
            if other.run is None and other.identity == job.identity:
                count += len(other.prompts)
                if count > self.settings.max_prompts:
                    break
                self._first.remove(other)
                taken.append(other)
        return taken

    @staticmethod
    def _answer(job: _Job, run: Callable[[], Any] | None) -> None:
        assert run is not None
        try:
            answer = run()
        except BaseException as error:  # the one who waits must hear of it, whatever it is
            job.future.set_exception(error)
        else:
            job.future.set_result(answer)

    def _answer_together(self, jobs: Sequence[_Job]) -> None:
        """Answer the prompts of several requests at once; where one of them is at fault, each alone."""
        try:
            answers = self._masks(jobs[0].identity, [prompt for job in jobs for prompt in job.prompts])
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].future.set_exception(error)
                return
            for job in jobs:
                self._answer(job, lambda job=job: self._masks(job.identity, job.prompts))  # type: ignore[misc]
            return
        self.batches += 1
        self.batched += len(answers)
        start = 0
        for job in jobs:
            job.future.set_result(answers[start : start + len(job.prompts)])
            start += len(job.prompts)

    def _encode(self, content: bytes) -> Held:
        identity = hashlib.sha256(content).hexdigest()[:32]
        found = self.cache.get(identity)
        if found is not None:
            return found
        image = decode_picture(content)
        predictor = Predictor(self.model, self.image_size)
        predictor.set_image(image)
        taken = sum(one.numel() * one.element_size() for one in maps_of(predictor.embedding)) + len(content)
        made = Held(identity, predictor, content, (image.shape[0], image.shape[1]), taken)
        self.cache.put(made)
        return made

    def _everything(self, identity: str, options: dict[str, Any]) -> Everything:
        held = self.held(identity)
        return MaskGenerator(self.model, image_size=self.image_size, **options)(decode_picture(held.content))

    def _masks(self, identity: str, prompts: Sequence[Prompt]) -> list[dict[str, Any]]:
        predictor = self.held(identity).predictor
        found: dict[int, dict[str, Any]] = {}
        kinds: dict[tuple[bool, bool, bool], list[int]] = {}
        for number, prompt in enumerate(prompts):
            kinds.setdefault(prompt.kind, []).append(number)
        for (has_points, has_box, multimask), numbers in kinds.items():
            if not has_points and not has_box:
                raise InputError("a prompt has neither points nor a box; expected at least one of them")
            asked = [prompts[number] for number in numbers]
            answer: Any = predictor.predict(
                points=[prompt.points for prompt in asked] if has_points else None,
                labels=[prompt.labels for prompt in asked] if has_points else None,
                boxes=[prompt.box for prompt in asked] if has_box else None,
                multimask=multimask,
            )
            found |= dict(zip(numbers, _records(answer), strict=True))
        return [found[number] for number in range(len(prompts))]


def _records(answer: Prediction) -> list[dict[str, Any]]:
    """The best mask of each prompt."""
    best = answer.best()
    return [
        {
            "segmentation": encode_rle(mask[0]),
            "area": int(mask[0].sum()),
            "bbox": list(bounding_box(mask[0])),
            "predicted_iou": float(best.iou[number, 0]),
            "stability_score": float(best.stability[number, 0]),
        }
        for number, mask in enumerate(best.masks)
    ]

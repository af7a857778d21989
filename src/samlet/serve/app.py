"""The application: routes, and errors as one sentence each."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException

from samlet import __version__
from samlet.errors import InputError, SamletError
from samlet.models import PromptableModel
from samlet.serve import label_studio, page, unreadable
from samlet.serve.cache import Held
from samlet.serve.errors import RequestError
from samlet.serve.forms import FORM, picture_of
from samlet.serve.limits import BodyLimit
from samlet.serve.model_thread import ModelThread
from samlet.serve.pictures import check_picture
from samlet.serve.schemas import (
    ErrorAnswer,
    EverythingBody,
    Health,
    ImageAnswer,
    MasksAnswer,
    MasksBody,
)
from samlet.serve.settings import ServeSettings

Answer = TypeVar("Answer")

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": what}
    for status, what in (
        (400, "the picture is damaged, or a prompt lies outside it"),
        (408, "the body takes too long to arrive"),
        (404, "no such picture is held"),
        (413, "the body or the picture is too large"),
        (415, "the body is no picture"),
        (422, "the request cannot be read"),
        (503, "too many requests wait, or the time is over"),
    )
}
_BYTES = {"type": "string", "format": "binary"}
_PICTURE = {
    "requestBody": {
        "required": True,
        "content": {
            "image/jpeg": {"schema": _BYTES},
            "image/png": {"schema": _BYTES},
            FORM: {"schema": {"type": "object", "properties": {"image": _BYTES}, "required": ["image"]}},
        },
    }
}
_MOST_TASKS = 16


def create_app(model: PromptableModel, settings: ServeSettings | None = None, name: str = "samlet") -> FastAPI:
    """The application of one model.

    Args:
        model: a `Sam`, or an exported one.
        settings: limits.
        name: of the model, for `/health`.
    """
    chosen = settings or ServeSettings()
    service = _Service(ModelThread(model, chosen), name)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.model_thread.close()

    app = FastAPI(
        title="samlet",
        version=__version__,
        summary="Masks for points and boxes, and of everything, by a small Segment Anything Model.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own pages load scripts from elsewhere, and are blank without a network
        redoc_url=None,
    )
    app.state.model_thread = service.model_thread
    app.add_middleware(BodyLimit, max_bytes=chosen.max_bytes, timeout_s=chosen.timeout_s)
    if chosen.allow_origins:  # outermost, so that errors are read by pages too
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(chosen.allow_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["content-type"],
        )
    app.add_exception_handler(RequestError, _said)
    app.add_exception_handler(SamletError, _said)
    app.add_exception_handler(RequestValidationError, _unreadable)
    app.add_exception_handler(HTTPException, _nowhere)
    add = app.add_api_route
    add("/images", service.image, methods=["POST"], responses=_ERRORS, openapi_extra=_PICTURE)
    add("/images/{image}/masks", service.masks, methods=["POST"], responses=_ERRORS)
    add("/images/{image}/everything", service.everything, methods=["POST"], responses=_ERRORS)
    add("/health", service.health, methods=["GET"])
    add("/", service.health, methods=["GET"], include_in_schema=False)
    add("/docs", service.docs, methods=["GET"], include_in_schema=False)
    add("/setup", service.setup, methods=["POST"], responses=_ERRORS, tags=["Label Studio"])
    add("/predict", service.predict, methods=["POST"], responses=_ERRORS, tags=["Label Studio"])
    return app


async def _said(_: Request, error: Exception) -> JSONResponse:
    """One sentence with the status that fits."""
    status = error.status if isinstance(error, RequestError) else 400 if isinstance(error, InputError) else 500
    return JSONResponse({"detail": " ".join(str(error).split())}, status)


async def _unreadable(request: Request, error: Exception) -> JSONResponse:
    """The first thing that does not fit the description of a request."""
    assert isinstance(error, RequestValidationError)
    kind = request.headers.get("content-type", "")
    said = " ".join(unreadable.sentence(error.errors()[0], request.url.path, kind).split())
    return JSONResponse({"detail": said.encode("utf-8", "backslashreplace").decode()}, 422)


async def _nowhere(request: Request, error: Exception) -> JSONResponse:
    """An address that is none, or is asked in another way."""
    assert isinstance(error, HTTPException)
    asked, said = f"{request.method} {request.url.path}", str(error.detail)
    if error.status_code == 404:
        said = f"{asked} is not served; expected POST /images with a picture, or another address of /docs"
    elif error.status_code == 400:  # what Python's JSON reader gives up on
        said = "the body is nested too deeply, or has a number of too many digits; expected JSON as /docs shows it"
    elif error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        said = f"{asked} is not served; expected {allowed} at this address. /docs says how to ask"
    return JSONResponse({"detail": said}, error.status_code, error.headers)


def _address(request: Request) -> str:
    """The address of the service, as this client wrote it."""
    return str(request.base_url).rstrip("/")


class _Service:
    """The routes.

    Args:
        model_thread: runs the model.
        name: of the model.
    """

    def __init__(self, model_thread: ModelThread, name: str) -> None:
        self.model_thread, self.name, self.settings = model_thread, name, model_thread.settings

    async def image(self, request: Request) -> ImageAnswer:
        """Send a picture, as it is or as the one file of a form; the answer names it for later requests."""
        start = time.perf_counter()
        try:
            held = await self._held(picture_of(request.headers.get("content-type", ""), await request.body()))
        except RequestError as error:
            if error.status not in (400, 415, 422):
                raise
            remedy = f"send a photograph so: curl --data-binary @photo.jpg {_address(request)}/images"
            raise RequestError(error.status, f"{error}; {remedy}") from error
        height, width = held.size
        return ImageAnswer(image=held.identity, width=width, height=height, seconds=time.perf_counter() - start)

    async def masks(self, image: str, body: MasksBody) -> MasksAnswer:
        """Ask for one mask for each prompt. Requests that come together are decoded together."""
        start = time.perf_counter()
        if not body.prompts:
            raise RequestError(422, "prompts is empty; expected at least one with points or a box")
        if len(body.prompts) > self.settings.max_prompts:
            raise RequestError(
                422, f"{len(body.prompts)} prompts were sent; expected at most {self.settings.max_prompts} a request"
            )
        prompts = []
        for number, one in enumerate(body.prompts):
            if not one.points and one.box is None:
                raise RequestError(422, f"prompt {number} has neither points nor a box; expected at least one of them")
            try:
                prompts.append(one.prompt())
            except ValueError as error:
                raise RequestError(422, f"prompt {number}: {error}") from error
        self.model_thread.held(image)
        found = await self._wait(self.model_thread.masks(image, prompts))
        return MasksAnswer.model_validate({"masks": found, "seconds": time.perf_counter() - start})

    async def everything(self, image: str, body: EverythingBody | None = None) -> MasksAnswer:
        """Ask for all masks of a picture, without prompts. Takes seconds; prompts of others go first."""
        self.model_thread.held(image)
        found = await self._wait(self.model_thread.everything(image, (body or EverythingBody()).options()))
        return MasksAnswer.model_validate({"masks": list(found), "seconds": found.seconds})

    async def health(self) -> Health:
        """Say that the service runs, and what it holds."""
        images, image_bytes = self.model_thread.cache.counts()
        return Health(
            model=self.name,
            image_size=self.model_thread.image_size,
            images=images,
            image_bytes=image_bytes,
            waiting=self.model_thread.waiting,
        )

    async def docs(self, request: Request) -> HTMLResponse:
        """Every route, as a page that needs no network."""
        return HTMLResponse(page.describe(request.app.openapi(), _address(request), self.name))

    async def setup(self) -> dict[str, str]:
        """Label Studio's question which model this is."""
        return {"model_version": self.name}

    async def predict(self, body: dict[str, Any]) -> dict[str, Any]:
        """Label Studio's question for masks: a brush stroke for the clicks and the box that were drawn on a task."""
        tasks = body.get("tasks")
        if not isinstance(tasks, list) or not tasks or not all(isinstance(task, dict) for task in tasks):
            raise RequestError(422, "tasks is missing or empty; expected the tasks of a Label Studio project")
        if len(tasks) > _MOST_TASKS:
            raise RequestError(422, f"{len(tasks)} tasks were sent; expected at most {_MOST_TASKS} at once")
        context = label_studio.context_of(body)
        if context is None:  # nothing is drawn yet: no guess is better than a hundred masks
            return {"results": [{"result": [], "score": 0.0, "model_version": self.name} for _ in tasks]}
        interface = label_studio.read_interface(str(body.get("label_config") or ""))
        return {"results": [await self._predict(task, context, interface) for task in tasks]}

    async def _predict(
        self, task: dict[str, Any], context: dict[str, Any], interface: label_studio.Interface
    ) -> dict[str, Any]:
        data = task.get("data")
        address = data.get(interface.key) if isinstance(data, dict) else None
        held = await self._held(await run_in_threadpool(label_studio.fetch, address, self.settings))
        prompt, label = label_studio.read_context(context, held.size)
        (mask,) = await self._wait(self.model_thread.masks(held.identity, [prompt]))
        return await run_in_threadpool(label_studio.result, mask, interface, label, held.size, self.name)

    async def _held(self, content: bytes) -> Held:
        check_picture(content, self.settings.max_pixels)
        return await self._wait(self.model_thread.encode(content))

    async def _wait(self, future: Future[Answer]) -> Answer:
        """What the model's thread answers, within the time of a request."""
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self.settings.timeout_s)
        except TimeoutError as error:
            raise RequestError(
                503, f"the model did not answer within {self.settings.timeout_s:g} s; try again, or ask for less"
            ) from error
        except (asyncio.CancelledError, CancelledError) as error:
            if future.cancelled():
                raise RequestError(503, "the service is stopping; try another time") from error
            raise

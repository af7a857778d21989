"""A model folder on the Hugging Face hub, with its card. `huggingface_hub` uploads (extra `hf`)."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from samlet._version import __version__
from samlet.errors import InputError, SamletError
from samlet.io.paths import expanded
from samlet.io.writing import MODEL_FILES
from samlet.publishing.card import CARD, model_card, read_provenance
from samlet.zoo import load_path
from samlet.zoo.contents import model_files
from samlet.zoo.environment import endpoint, offline, token
from samlet.zoo.reference import HubReference, parse_reference
from samlet.zoo.transport import TransferError, ask_json

T = TypeVar("T")
_LONGEST = 500  # characters of another library's message


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What an upload brought.

    Attributes:
        url: of the repository.
        commit: its hash; "" where nothing was uploaded.
        files: sizes, bytes, by name.
        card: the text of README.md; "" where the repository kept its own.
    """

    url: str
    commit: str
    files: dict[str, int]
    card: str


def push_to_hub(
    model_dir: str | Path,
    repository: str,
    *,
    private: bool = False,
    licence: str | None = None,
    message: str | None = None,
    replace_card: bool = False,
    dry_run: bool = False,
) -> Pushed:
    """Upload a model folder to the Hugging Face hub, where `samlet.load("ORG/NAME")` finds it.

    A card (README.md) is made from the model's provenance, unless the folder or the repository has one.

    Args:
        model_dir: a model folder: samlet's own, an exported one, or a `SamModel` folder.
        repository: `ORG/NAME`; made where there is none.
        private: whether a repository that is made is private.
        licence: of the weights, such as `Apache-2.0`; that of the zoo model that it was made from if None.
        message: of the commit.
        replace_card: replace the README.md of a repository that has one.
        dry_run: load the model and make the card, and upload nothing.

    Raises:
        InputError: no model folder, no name of a repository, no token, an unknown licence, or `huggingface_hub` is not
            installed.
        SamletError: the hub cannot be reached or refuses.
    """
    reference = parse_reference(f"hf://{repository.removeprefix('hf://')}")
    if reference is None or reference != HubReference(reference.repository):
        raise InputError(f"{repository} names a revision or a file; expected ORG/NAME")
    folder = expanded(model_dir)
    files = _files(folder)
    sam = load_path(folder)
    own = folder / CARD
    card = (
        own.read_text(encoding="utf-8")
        if own.is_file()
        else model_card(sam, read_provenance(folder), reference.repository, licence)
    )
    sizes = {name: path.stat().st_size for name, path in files.items()}
    url = f"{endpoint()}/{reference.repository}"
    if dry_run:
        return Pushed(url=url, commit="", files=sizes, card=card)
    api = _api()
    _asked(api, lambda: api.create_repo(reference.repository, private=private, exist_ok=True))
    keeps = not replace_card and _asked(api, lambda: api.file_exists(reference.repository, CARD))
    adding = importlib.import_module("huggingface_hub").CommitOperationAdd
    operations = [adding(path_in_repo=name, path_or_fileobj=path) for name, path in files.items()]
    if not keeps:
        operations.append(adding(path_in_repo=CARD, path_or_fileobj=card.encode()))
    said = message or f"Upload with samlet {__version__}"
    made = _asked(
        api, lambda: api.create_commit(reference.repository, operations, commit_message=said, repo_type="model")
    )
    return Pushed(url=url, commit=str(made.oid), files=sizes, card="" if keeps else card)


def _files(folder: Path) -> dict[str, Path]:
    """What is uploaded: the model, and pictures and report beside it."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; expected that of a model, as `samlet slim --out` writes it")
    names = sorted(path.relative_to(folder).as_posix() for path in folder.iterdir() if path.is_file())
    wanted = dict.fromkeys([*model_files(names, str(folder)), *(name for name in names if name in MODEL_FILES)])
    return {name: folder / name for name in wanted}


def _api() -> Any:
    """The client of the hub, after asking whether it can be reached and who we are, which is answered at once."""
    if name := offline():
        raise SamletError(f"{name} is set, so nothing can be uploaded; unset it, or pass --dry-run to see the card")
    try:
        tools = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise InputError(f"uploading needs huggingface_hub ({error}); pip install 'samlet[hf]'") from error
    key = token()
    if key is None:
        raise InputError("uploading needs a token; set HF_TOKEN to one that may write, or run `hf auth login`")
    try:
        ask_json(f"{endpoint()}/api/whoami-v2", key)
    except TransferError as error:
        raise SamletError(f"nothing was uploaded: {error}") from error
    return tools.HfApi(endpoint=endpoint(), token=key, library_name="samlet", library_version=__version__)


def _asked(api: Any, question: Callable[[], T]) -> T:
    """What the hub answers; its refusals in one line."""
    try:
        return question()
    except Exception as error:  # of several libraries below huggingface_hub
        said = " ".join(str(error).split())[:_LONGEST]
        hint = "; set HF_HUB_DISABLE_XET=1 if this hub has no Xet storage" if "xet" in said.lower() else ""
        raise SamletError(f"the upload to {api.endpoint} failed: {said}{hint}") from error

"""Models from the Hugging Face hub: found in the cache that all tools share, else downloaded into it.

The downloading is our own. `benchmarks/hub_download.py` measures it beside `huggingface_hub` 2.4.0, the newest, over
plain HTTP from a hub on this machine: after a kill half-way the next call asks for the 0.50 of the file that is
missing, not for all of it; that nobody can be reached is told after 0.1 s in 1 line, not after 25 s in 36. Uploads
(`samlet.publishing`) are `huggingface_hub`'s.

A bare name means the commit that it meant when it was first used (`pins`). `NAME@BRANCH` is looked up on the hub each
time, and in the cache where there is no network.
"""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import quote

from samlet.checkpoints.hugging_face import MODEL_TYPE
from samlet.checkpoints.hugging_face_sam2 import MODEL_TYPES
from samlet.checkpoints.reading import read_json
from samlet.errors import CheckpointError, InputError, SamletError
from samlet.zoo.contents import CONFIG, model_files
from samlet.zoo.download import fetch
from samlet.zoo.environment import cache_folders, endpoint, offline, own_folder, token
from samlet.zoo.hub_cache import CachedRepository
from samlet.zoo.pins import Pins
from samlet.zoo.reference import HubReference, is_commit
from samlet.zoo.registry import Entry
from samlet.zoo.transport import RefusedError, TransferError, ask_json

_DEFAULT = "main"
_READ = (MODEL_TYPE, *MODEL_TYPES)


def cached(entry: Entry) -> Path | None:
    """Where the last file of a downloaded zoo model is, or None if a file is missing. Needs no network."""
    paths = _early_paths(entry) or _cached(_reference(entry), entry.files)[1]
    return paths[-1] if paths else None


def download(entry: Entry) -> Path:
    """Fetch the files of a zoo model unless they are in the cache; what was interrupted continues.

    Returns:
        Path of the last file.

    Raises:
        SamletError: the hub cannot be reached or refuses, or a file arrived damaged or cannot be written.
    """
    if early := _early_paths(entry):
        return early[-1]
    try:
        paths = _paths(_reference(entry), entry.files, dict(entry.sha256))
    except TransferError as error:
        raise SamletError(
            f"the weights of {entry.name} could not be downloaded from {entry.source}: {error}. "
            f"Where there is no network, fetch {' and '.join(entry.files)} of {entry.source} on another machine, copy "
            "the file or folder here and pass its path instead of the name"
        ) from error
    return paths[-1]


def locate_reference(reference: HubReference) -> Path:
    """The folder or file of a model on the hub, on this disk; downloaded where it is not here.

    Raises:
        InputError: the repository holds no model, or several.
        SamletError: the hub cannot be reached or refuses, or a file arrived damaged or cannot be written.
    """
    try:
        paths = _paths(reference, (reference.file,) if reference.file else None, {})
    except TransferError as error:
        pins = Pins(reference.repository)
        if isinstance(error, RefusedError) and error.status == 404 and pins.commit and not reference.revision:
            raise SamletError(
                f"the commit that {reference} meant when it was first used, {pins.commit[:12]}, is gone from the hub: "
                f"{error}. Name a branch, such as {reference}@{_DEFAULT}, or delete {pins.path} to begin anew"
            ) from error
        raise SamletError(
            f"{reference} is no file or folder here, and could not be downloaded from the Hugging Face hub: {error}. "
            "Where there is no network, copy the model here and pass its path"
        ) from error
    if len(paths) == 1:
        return paths[0]
    return paths[0].parent


def _reference(entry: Entry) -> HubReference:
    return HubReference(entry.repository, entry.revision)


def _early_paths(entry: Entry) -> list[Path]:
    """Where early versions of samlet kept the files of a model, if all are there."""
    folder = own_folder() / entry.repository.replace("/", "--")
    paths = [folder / name for name in entry.files]
    return paths if all(path.is_file() for path in paths) else []


def _cached(reference: HubReference, files: tuple[str, ...] | None) -> tuple[str, list[Path]]:
    """The commit that a name means in the caches, and its files; an empty list if one is missing."""
    pinned = "" if reference.revision else Pins(reference.repository).commit
    for root in cache_folders():
        repository = CachedRepository(root, reference.repository)
        commit = repository.commit(reference.revision or pinned or _DEFAULT)
        if not commit:
            continue
        names = repository.names(commit)
        try:
            wanted = files or model_files(names, str(reference))
        except InputError:  # other tools fetch what they need, which may be another part
            continue
        if set(wanted) <= set(names):
            return commit, [repository.snapshot(commit) / name for name in wanted]
    return "", []


def _paths(reference: HubReference, files: tuple[str, ...] | None, known: dict[str, str]) -> list[Path]:
    """The files of a model on this disk, from the cache or the hub, checked against what is known of them."""
    commit, paths = _cached(reference, files)
    forbidden = offline()
    if not paths and forbidden:
        raise TransferError(f"{forbidden} is set, and the model is not in {' or '.join(map(str, cache_folders()))}")
    moving = bool(reference.revision) and not reference.commit
    if not paths or (moving and not forbidden):
        try:
            commit, paths = _fetched(reference, files, moving)
        except TransferError as error:
            if not paths:
                raise
            print(f"samlet: {error}; {reference} is taken as it was at {commit[:12]}", file=sys.stderr)
    root = next(parent.parent for parent in paths[0].parents if parent.name == commit)
    named = {path.relative_to(root / commit).as_posix(): path for path in paths}
    Pins(reference.repository).keep(commit, named, known, bare=not reference.revision)
    return paths


def _fetched(reference: HubReference, files: tuple[str, ...] | None, moving: bool) -> tuple[str, list[Path]]:
    """The commit that a name means on the hub, and its files, downloaded where they are not in the cache."""
    repository = CachedRepository(cache_folders()[0], reference.repository)
    try:
        with repository.locked():
            commit, paths = ("", []) if moving else _cached(reference, files)  # another process may have brought it
            if not paths:
                commit, paths = _brought(repository, reference, files, moving)
            repository.tidy()
    except OSError as error:
        raise SamletError(
            f"{repository.folder} cannot be written: {error.strerror or error}. Set SAMLET_CACHE to a folder elsewhere"
        ) from error
    return commit, paths


def _brought(
    repository: CachedRepository, reference: HubReference, files: tuple[str, ...] | None, moving: bool
) -> tuple[str, list[Path]]:
    revision = reference.revision or Pins(reference.repository).commit or _DEFAULT
    commit = revision if is_commit(revision) else "" if moving else repository.commit(revision)
    if files is None:
        revision = commit or revision
        url = f"{endpoint()}/api/models/{reference.repository}/revision/{quote(revision, safe='')}"
        commit, names = _listing(ask_json(url, token()), url)
        files = model_files(names, str(reference))
    paths = []
    for name in files:
        commit, path = _fetch_file(repository, reference.repository, commit or revision, name)
        paths.append(path)
        repository.name_commit(revision, commit)
        if name == CONFIG and len(files) > 1:
            _check_config(path, str(reference))
    return commit, paths


def _listing(answer: object, url: str) -> tuple[str, list[str]]:
    """The commit and the files that the hub tells of a revision."""
    content = answer if isinstance(answer, dict) else {}
    commit, files = content.get("sha"), content.get("siblings")
    names = [one.get("rfilename") for one in files if isinstance(one, dict)] if isinstance(files, list) else []
    if not isinstance(commit, str) or not is_commit(commit) or not all(_is_plain(name) for name in names):
        raise TransferError(f"{url} was answered with something that is no list of files")
    return commit, [str(name) for name in names]


def _is_plain(name: object) -> bool:
    """Whether a name stays inside the folder that it is put in."""
    return (
        isinstance(name, str)
        and not any(c in name for c in "\\:\0")
        and all(part not in ("", ".", "..") for part in name.split("/"))
    )


def _fetch_file(repository: CachedRepository, name: str, revision: str, file: str) -> tuple[str, Path]:
    """One file of a revision: its commit, and where it is."""
    place = repository.snapshot(revision) / file
    if is_commit(revision) and place.is_file():
        return revision, place
    url = f"{endpoint()}/{name}/resolve/{quote(revision, safe='')}/{quote(file)}"
    staged = repository.staging(file)
    remote = fetch(url, staged, token(), lambda remote: repository.holds(remote.etag, remote.size))
    commit = revision if is_commit(revision) else remote.commit
    if not is_commit(commit):
        raise TransferError(f"{url}: the server does not say which commit it answers with (X-Repo-Commit)")
    if staged.is_file():
        return commit, repository.add(commit, file, staged, remote.etag)
    return commit, repository.point(commit, file, remote.etag)


def _check_config(path: Path, reference: str) -> None:
    """Refuse a model of another kind before its weights are fetched."""
    try:
        about = read_json(path)
    except CheckpointError:
        return  # which the reader tells
    kind = about.get("model_type")
    if kind not in _READ and about.get("format") != "samlet":
        raise InputError(
            f"{reference} is a model of the type {kind!r}; expected {', '.join(_READ)}, or one of samlet's"
        )

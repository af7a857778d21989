"""A Hugging Face hub of a few repositories on this machine, for the benchmark of downloads and the tests of the hub.

It answers as the hub does. A large file is redirected to another host, which says nothing of its SHA-256; a small one
(`.json`) to another path, which is the first to say anything of it. Uploads are taken as the hub takes them: large
files through LFS, then one commit.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import unquote

DEADLINE = 600
"""Seconds after which a body that waits ends."""
_CHUNK = 1 << 18


class Get(NamedTuple):
    """One request for bytes, after the redirect."""

    name: str
    range: str | None
    token: str | None


class _Handler(BaseHTTPRequestHandler):
    @property
    def hub(self) -> LocalHub:
        return cast(LocalHub, self.server)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(self.path)
        if path.startswith("/bytes/"):
            self._serve(path.removeprefix("/bytes/"))
            return
        self.hub.asked.append(path)
        self.hub.tokens.append(self.headers["Authorization"])
        if self.hub.refusal:
            self.send_error(self.hub.refusal)
        elif path == "/api/whoami-v2":
            self._json({"type": "user", "name": "user"})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", path):
            self._list(*found.groups())
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+|refs/pr/\d+)/(.+)", path):
            self._resolve(*found.groups())
        else:
            self.send_error(404)

    def _list(self, repository: str, revision: str) -> None:
        commit = self.hub.commit(repository, revision)
        if commit is None:
            self.send_error(404)
            return
        names = [{"rfilename": name} for name in self.hub.commits[repository, commit]]
        self._json({"id": repository, "modelId": repository, "sha": commit, "siblings": names})

    def _resolve(self, repository: str, revision: str, name: str) -> None:
        commit = self.hub.commit(repository, revision)
        content = None if commit is None else self.hub.commits[repository, commit].get(name)
        if commit is None or content is None:
            code = "RepoNotFound" if commit is None else "EntryNotFound"
            self._answer(404, {"X-Error-Code": code, "Content-Length": 0})
            return
        place = f"/bytes/{repository}/{commit}/{name}"
        told: dict[str, object] = {"X-Repo-Commit": commit} if self.hub.tells_commit else {}
        if name.endswith(".json"):
            described: dict[str, object] = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
            self._answer(307, told | described | {"Location": place, "Content-Length": 0})
            return
        host = self.hub.store or f"http://localhost:{self.hub.server_port}"
        linked = {"X-Linked-ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Linked-Size": len(content)}
        self._answer(302, told | linked | {"Location": host + place, "Content-Length": 0})

    def _serve(self, place: str) -> None:
        owner, name, commit, file = place.split("/", 3)
        content = self.hub.commits[f"{owner}/{name}", commit][file]
        asked = self.headers.get("Range")
        if self.command == "GET":
            self.hub.gets.append(Get(Path(file).name, asked, self.headers["Authorization"]))
        found = re.fullmatch(r"bytes=(\d+)-", asked) if asked and self.hub.ranges else None
        start = int(found[1]) if found else 0
        if start >= len(content):
            self.send_error(416)
            return
        headers: dict[str, object] = {"ETag": f'W/"{hashlib.sha1(content).hexdigest()}"'}
        headers |= {"Content-Length": len(content) - start}
        headers |= {"X-Repo-Commit": commit} if self.hub.tells_commit else {}
        headers |= {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        self._answer(206 if start else 200, headers)
        if self.command == "HEAD":
            return
        end = start + self.hub.cuts.pop(0) if self.hub.cuts else len(content)
        sent = flip(content) if self.hub.damage else content
        for at in range(start, min(end, len(content)), _CHUNK):
            try:
                self.wfile.write(sent[at : min(at + _CHUNK, end)])
            except OSError:  # whoever asked is gone
                return
            self.hub.sent += min(at + _CHUNK, end) - at
            if self.hub.bytes_a_second:
                time.sleep(_CHUNK / self.hub.bytes_a_second)
        if end < len(content):
            self.hub.proceed.wait(DEADLINE)

    def do_POST(self) -> None:
        path = unquote(self.path)
        body = self._body()
        self.hub.asked.append(path)
        self.hub.tokens.append(self.headers["Authorization"])
        if self.hub.refusal:
            self.send_error(self.hub.refusal)
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'user'}/{asked['name']}"
            self.hub.created.append(asked)
            if (name, "main") not in self.hub.branches:
                self.hub.put(name, {})
            self._json({"url": f"{self.hub.url}/{name}"})
        elif path.endswith("/info/lfs/objects/batch"):
            self._json({"transfer": "basic", "objects": [self._place(one) for one in json.loads(body)["objects"]]})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/(.+)", path):
            paths = [one["path"] for one in json.loads(body)["files"]]
            modes = {path: "lfs" if _is_large(path) else "regular" for path in paths}
            self._json({"files": [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in modes.items()]})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/(.+)", path):
            self._commit(found[1], found[2], body)
        else:
            self.send_error(404)

    def do_PUT(self) -> None:
        content = self._body()
        self.hub.puts.append(self.headers["Authorization"])
        self.hub.large[self.path.rsplit("/", 1)[-1]] = content
        self._answer(200, {"Content-Length": 0})

    def _place(self, one: dict[str, Any]) -> dict[str, Any]:
        here = one["oid"] in self.hub.large
        actions = (
            {} if here else {"actions": {"upload": {"href": f"{self.hub.store or self.hub.url}/lfs/{one['oid']}"}}}
        )
        return {"oid": one["oid"], "size": one["size"], **actions}

    def _commit(self, repository: str, branch: str, body: bytes) -> None:
        files = dict(self.hub.commits[repository, self.hub.branches[repository, branch]])
        for line in body.decode().splitlines():
            value = json.loads(line)
            said = value["value"]
            if value["key"] == "file":
                files[said["path"]] = base64.b64decode(said["content"])
            elif value["key"] == "lfsFile":
                files[said["path"]] = self.hub.large[said["oid"]]
        commit = self.hub.put(repository, files, branch)
        url = f"{self.hub.url}/{repository}/commit/{commit}"
        self._json({"success": True, "commitUrl": url, "commitOid": commit, "hookOutput": ""})

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length")
        if length is not None:
            return self.rfile.read(int(length))
        parts = []
        while size := int(self.rfile.readline().strip() or b"0", 16):  # chunked
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _json(self, content: object) -> None:
        text = json.dumps(content).encode()
        self._answer(200, {"Content-Type": "application/json", "Content-Length": len(text)})
        if self.command != "HEAD":
            self.wfile.write(text)

    def _answer(self, status: int, headers: dict[str, object]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class LocalHub(ThreadingHTTPServer):
    """A hub of a few repositories.

    Attributes:
        commits: files, by repository and commit.
        branches: commit, by repository and branch.
        cuts: bytes after which the next bodies end, once `proceed` is set.
        damage: flips a bit of every body.
        ranges: whether bodies begin where they are asked to.
        refusal: status for every question to the hub itself; 0 for none.
        tells_commit: whether answers say of which commit they are.
        bytes_a_second: how fast bodies go; 0 for as fast as they can.
        store: address that large files are redirected to; this server under another name if empty.
    """

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.commits: dict[tuple[str, str], dict[str, bytes]] = {}
        self.branches: dict[tuple[str, str], str] = {}
        self.cuts: list[int] = []
        self.damage, self.ranges, self.tells_commit = False, True, True
        self.refusal, self.bytes_a_second, self.sent = 0, 0, 0
        self.store = ""
        self.proceed = threading.Event()
        self.proceed.set()
        self.gets: list[Get] = []
        self.asked: list[str] = []
        self.tokens: list[str | None] = []
        self.created: list[dict[str, Any]] = []
        self.puts: list[str | None] = []
        self.large: dict[str, bytes] = {}
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"

    def put(self, repository: str, files: dict[str, bytes], branch: str = "main") -> str:
        """Let a branch hold these files; the commit."""
        contents = sorted((name, hashlib.sha1(content).hexdigest()) for name, content in files.items())
        commit = hashlib.sha1(repr((repository, len(self.commits), contents)).encode()).hexdigest()
        self.commits[repository, commit] = files
        self.branches[repository, branch] = commit
        return commit

    def commit(self, repository: str, revision: str) -> str | None:
        """The commit that a revision means; None if there is none."""
        if (repository, revision) in self.commits:
            return revision
        return self.branches.get((repository, revision))

    @property
    def ranges_asked(self) -> list[str | None]:
        """What was asked of each body."""
        return [get.range for get in self.gets]

    def stop(self) -> None:
        """End."""
        self.proceed.set()
        self.shutdown()
        self.server_close()


def flip(content: bytes) -> bytes:
    """The content with one bit wrong."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def _is_large(path: str) -> bool:
    return Path(path).suffix in {".safetensors", ".bin", ".pth", ".onnx"}

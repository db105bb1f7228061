"""A registry in memory, on a loopback port, that fails on request: for tests of pull and push.

    async with FakeRegistry() as registry:
        registry.add_image("team/web", "1", [layer])
        registry.cut[digest] = [1000]       # break off after 1000 bytes, the first time

It speaks distribution-spec 1.0 as far as Carrick asks for it, the token documents, and `/v1/search`.
"""

import asyncio
import base64
import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

from aiohttp import web

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest_of(data: bytes) -> str:
    """Return `sha256:…`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def make_layer(files: dict[str, bytes]) -> bytes:
    """Return a tar archive."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


@dataclass(slots=True)
class FakeRegistry:
    """`auth` is "", "basic" or "bearer". `requests` are those that came, `tokens` what was asked for."""

    auth: str = ""
    users: dict[str, str] = field(default_factory=lambda: {"user": "secret"})
    identity_token: str = ""
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[tuple[str, str], tuple[bytes, str]] = field(default_factory=dict)
    cut: dict[str, list[int]] = field(default_factory=dict)
    """By digest: after how many bytes to break off, the first time, the second …"""
    held: dict[str, asyncio.Event] = field(default_factory=dict)
    """By digest: wait for this after the first half."""
    elsewhere: set[str] = field(default_factory=set)
    """Digests that are in other repositories only: they can be mounted."""
    ranges: bool = True
    refuse_uploads: int = 0
    """How many uploads to break off."""
    page_size: int = 1000
    found: list[dict[str, Any]] = field(default_factory=list)
    """What a search finds."""
    requests: list[str] = field(default_factory=list)
    tokens: list[dict[str, list[str]]] = field(default_factory=list)
    host: str = ""
    _valid: set[str] = field(default_factory=set)
    _uploads: dict[str, bytes] = field(default_factory=dict)
    _runner: web.ServerRunner | None = None

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(web.Server(self._handle))
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.host = f"127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._runner is not None
        for event in self.held.values():
            event.set()
        await self._runner.cleanup()

    # --- what is in it

    def add_blob(self, data: bytes) -> str:
        """Put a blob there; return its digest."""
        self.blobs[digest_of(data)] = data
        return digest_of(data)

    def add_image(
        self, repository: str, tag: str, layers: list[bytes], *, architecture: str = "amd64"
    ) -> tuple[str, list[str]]:
        """Put an image of plain tar archives there; return its manifest's digest and its layers'."""
        config = json.dumps(
            {
                "architecture": architecture,
                "os": "linux",
                "config": {"Cmd": ["sh"]},
                "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
            }
        ).encode()
        packed = [gzip.compress(layer, mtime=0) for layer in layers]
        digests = [self.add_blob(layer) for layer in packed]
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": self.add_blob(config), "size": len(config)},
            "layers": [
                {"mediaType": LAYER, "digest": digest, "size": len(data)}
                for digest, data in zip(digests, packed, strict=True)
            ],
        }
        return self.add_manifest(repository, tag, document), digests

    def add_manifest(self, repository: str, tag: str, document: dict[str, Any]) -> str:
        """Put a manifest there under a tag (unless it is "") and its digest, which is returned."""
        text = json.dumps(document).encode()
        for reference in filter(None, (tag, digest_of(text))):
            self.manifests[repository, reference] = (text, str(document["mediaType"]))
        return digest_of(text)

    def add_list(self, repository: str, tag: str, entries: dict[str, str]) -> str:
        """Put an index there: manifests' digests by `architecture[/variant]`."""
        manifests = []
        for platform, digest in entries.items():
            architecture, _, variant = platform.partition("/")
            known = {"architecture": architecture, "os": "linux", "variant": variant}
            size = len(self.manifests[repository, digest][0])
            manifests.append({"mediaType": MANIFEST, "digest": digest, "size": size, "platform": known})
        return self.add_manifest(
            repository, tag, {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
        )

    def asked(self, method: str, part: str) -> int:
        """Return how many requests of a method had `part` in their path."""
        return sum(line.startswith(f"{method} ") and part in line for line in self.requests)

    def expire_tokens(self) -> None:
        """Forget all tokens given out."""
        self._valid.clear()

    # --- answers

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path_qs}")
        path = request.path
        if path == "/token":
            return await self._token(request)
        if (refusal := self._refusal(request)) is not None:
            return refusal
        if path == "/v1/search":
            return web.json_response({"results": self.found})
        if path == "/v2/":
            return web.json_response({})
        name, _, rest = path.removeprefix("/v2/").rpartition("/")
        if name.endswith("/manifests"):
            return await self._manifest(request, name.removesuffix("/manifests"), rest)
        if name.endswith("/blobs"):
            return await self._blob(request, rest)
        if name.endswith("/tags"):
            return self._tags(request, name.removesuffix("/tags"))
        if name.endswith("/uploads"):
            return await self._upload(request, name, rest)
        return _error(404, "NOT_FOUND", "no such path")

    def _refusal(self, request: web.BaseRequest) -> web.Response | None:
        if not self.auth:
            return None
        given = request.headers.get("Authorization", "")
        if self.auth == "basic":
            good = {f"Basic {_pair(*user)}" for user in self.users.items()}
            challenge = 'Basic realm="test"'
        else:
            good = {f"Bearer {token}" for token in self._valid}
            challenge = f'Bearer realm="http://{self.host}/token",service="test"'
        if given in good:
            return None
        response = _error(401, "UNAUTHORIZED", "authentication required")
        response.headers["WWW-Authenticate"] = challenge
        return response

    async def _token(self, request: web.BaseRequest) -> web.Response:
        query = parse_qs(request.query_string)
        if request.method == "POST":
            query = {key: [str(value)] for key, value in (await request.post()).items()}
            is_good = bool(self.identity_token) and query.get("refresh_token") == [self.identity_token]
        else:
            given = request.headers.get("Authorization", "")
            is_good = given in {f"Basic {_pair(*user)}" for user in self.users.items()}
        self.tokens.append(query)
        if not is_good:
            return web.json_response({"details": "incorrect username or password"}, status=401)
        token = f"token{len(self.tokens)}"
        self._valid.add(token)
        answer = {"token": token}
        if "offline_token" in query and self.identity_token:
            answer["refresh_token"] = self.identity_token
        return web.json_response(answer)

    async def _manifest(self, request: web.BaseRequest, name: str, reference: str) -> web.Response:
        if request.method == "PUT":
            text = await request.read()
            entry = (text, request.headers["Content-Type"])
            self.manifests[name, reference] = self.manifests[name, digest_of(text)] = entry
            return web.Response(status=201)
        if (name, reference) not in self.manifests:
            return _error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        text, kind = self.manifests[name, reference]
        headers = {"Docker-Content-Digest": digest_of(text), "Content-Type": kind}
        return web.Response(body=text, headers=headers)

    async def _blob(self, request: web.BaseRequest, digest: str) -> web.StreamResponse:
        data = self.blobs.get(digest)
        if data is None:
            return _error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        if request.method == "HEAD" and digest in self.elsewhere:
            return _error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        if request.method == "HEAD":
            return web.Response(headers={"Content-Length": str(len(data))})
        start, given = 0, request.headers.get("Range", "")
        if given and self.ranges:
            start = int(given.removeprefix("bytes=").rstrip("-"))
        cuts = self.cut.get(digest)
        stop = min(len(data), cuts.pop(0) if cuts else len(data))
        response = web.StreamResponse(status=206 if start else 200)
        response.content_length = len(data) - start
        await response.prepare(request)
        half = start + (stop - start) // 2
        await response.write(data[start:half])
        if (event := self.held.get(digest)) is not None:
            await event.wait()
        await response.write(data[half:stop])
        if stop < len(data):
            assert request.transport is not None
            request.transport.close()
        return response

    def _tags(self, request: web.BaseRequest, name: str) -> web.Response:
        tags = sorted(tag for known, tag in self.manifests if known == name and ":" not in tag)
        if not tags:
            return _error(404, "NAME_UNKNOWN", "repository name not known to registry")
        last = request.query.get("last", "")
        rest = [tag for tag in tags if tag > last]
        page = rest[: self.page_size]
        headers = {}
        if len(rest) > len(page):
            headers["Link"] = f'</v2/{name}/tags/list?n={self.page_size}&last={page[-1]}>; rel="next"'
        return web.json_response({"name": name, "tags": page}, headers=headers)

    async def _upload(self, request: web.BaseRequest, name: str, identifier: str) -> web.Response:
        query = parse_qs(request.query_string)
        if request.method == "POST":
            if (mount := query.get("mount")) and mount[0] in self.blobs:
                return web.Response(status=201)
            identifier = f"u{len(self._uploads)}"
            self._uploads[identifier] = b""
            return web.Response(status=202, headers={"Location": f"/v2/{name}/{identifier}?_state=a%3D"})
        if request.method == "DELETE":
            self._uploads.pop(identifier, None)
            return web.Response(status=204)
        assert request.query_string.startswith("_state=a%3D"), "the location must come back as it was"
        if request.method == "PATCH" and self.refuse_uploads:
            self.refuse_uploads -= 1
            await request.content.read(1)
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        self._uploads[identifier] += await request.content.read()
        if request.method == "PUT":
            data = self._uploads.pop(identifier)
            if digest_of(data) != query["digest"][0]:
                return _error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
            self.blobs[digest_of(data)] = data
            return web.Response(status=201)
        return web.Response(status=202, headers={"Location": f"/v2/{name}/{identifier}?_state=a%3D"})


def _pair(username: str, password: str) -> str:
    return base64.b64encode(f"{username}:{password}".encode()).decode()


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"errors": [{"code": code, "message": message}]}, status=status)

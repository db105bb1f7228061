"""Pull and push against a registry that fails on request. The unpacking is pretended."""

import asyncio
import gzip
import os
import traceback
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from carrick.host.runtime import archives
from carrick.host.runtime.image_store import Progress, RegistryAuth
from carrick.host.runtime.images import LocalImageStore
from carrick.host.runtime.imports import fetch_archive
from carrick.host.runtime.registry import RegistryProblem, RegistrySettings, problem_of
from carrick.host.runtime.registry_auth import parse_challenges
from carrick.model.errors import CarrickError, Denied, Failed, InvalidRequest, NotFound, Unsupported
from carrick.testing.fake_registry import FakeRegistry, digest_of, make_layer
from carrick.testing.waiting import until

GOOD = RegistryAuth("user", "secret")
BAD = RegistryAuth("user", "hunter2")
SMALL = make_layer({"etc/small": b"small"})
# Random, so that gzip leaves it large enough to be cut in the middle.
LARGE = make_layer({"large": os.urandom(2_000_000)})


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    async with FakeRegistry() as fake:
        yield fake


@pytest.fixture
def umoci(tmp_path: Path) -> Path:
    script = tmp_path / "umoci"
    script.write_text('#!/bin/sh\nfor last; do :; done\nmkdir -p "$last"\necho x >"$last/file"\n')
    script.chmod(0o755)
    return script


@pytest.fixture
async def store(tmp_path: Path, umoci: Path) -> LocalImageStore:
    return await open_store(tmp_path / "images", umoci)


async def open_store(root: Path, umoci: Path) -> LocalImageStore:
    opened = LocalImageStore(root, umoci=str(umoci), machine="x86_64", retry_delays_s=(0.01, 0.02, 0.04))
    await opened.open()
    return opened


def left_in(store: LocalImageStore) -> list[str]:
    """Return the files of a store but its index."""
    root = store._files.root
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


class Said(list[Progress]):
    """Progress, and what it says of one layer."""

    def __bool__(self) -> bool:
        return True

    def __call__(self, progress: Progress) -> None:
        self.append(progress)

    def of(self, digest: str) -> list[str]:
        """Return the different statuses of a layer, in their order."""
        short = digest.removeprefix("sha256:")[:12]
        return list(dict.fromkeys(line.status for line in self if line.id == short))

    @property
    def texts(self) -> list[str]:
        return [line.status for line in self if not line.id]


# --- pull


async def test_a_pull(registry: FakeRegistry, store: LocalImageStore) -> None:
    digest, (small, large) = registry.add_image("team/web", "1", [SMALL, LARGE])
    name, said = f"{registry.host}/team/web:1", Said()
    image = await store.pull(name, said)
    assert image.repo_tags == (name,)
    assert image.repo_digests == (f"{registry.host}/team/web@{digest}",)
    assert said[0] == Progress("Pulling from team/web", id="1", is_heading=True)
    for layer in (small, large):
        assert said.of(layer) == [
            "Pulling fs layer",
            "Downloading",
            "Verifying Checksum",
            "Download complete",
            "Pull complete",
        ]
    last = [line for line in said if line.status == "Downloading"][-1]
    assert last.current == last.total > 0
    assert said.texts == [f"Digest: {digest}", f"Status: Downloaded newer image for {name}"]
    assert not list((store._files.root / "incoming").iterdir())

    registry.requests.clear()
    said.clear()
    await store.pull(name, said)
    assert said.texts[-1] == f"Status: Image is up to date for {name}"
    assert not registry.asked("GET", "/team/"), "what is here is asked for, not fetched"


async def test_layers_that_are_here_are_not_fetched(registry: FakeRegistry, store: LocalImageStore) -> None:
    registry.add_image("one", "1", [LARGE])
    _, (large, small) = registry.add_image("two", "1", [LARGE, SMALL])
    await store.pull(f"{registry.host}/one:1")
    said = Said()
    await store.pull(f"{registry.host}/two:1", said)
    assert said.of(large) == ["Already exists"]
    assert said.of(small)[-1] == "Pull complete"
    assert registry.asked("GET", large) == 1


async def test_a_second_name_is_news(registry: FakeRegistry, store: LocalImageStore) -> None:
    registry.add_image("one", "1", [SMALL])
    registry.add_image("one", "2", [SMALL])
    await store.pull(f"{registry.host}/one:1")
    said = Said()
    image = await store.pull(f"{registry.host}/one:2", said)
    assert said.texts[-1].startswith("Status: Downloaded newer image")
    assert len(image.repo_tags) == 2
    image = await store.pull(f"{registry.host}/one@{image.repo_digests[0].partition('@')[2]}")
    assert len(image.repo_tags) == 2


@pytest.mark.parametrize("ranges", [True, False])
async def test_a_connection_that_breaks(registry: FakeRegistry, store: LocalImageStore, ranges: bool) -> None:
    _, (large,) = registry.add_image("web", "1", [LARGE])
    registry.ranges = ranges
    registry.cut[large] = [1_000_000, 1_500_000]
    said = Said()
    await store.pull(f"{registry.host}/web:1", said)
    assert registry.asked("GET", large) == 3
    assert {"Retrying in 0.01 seconds", "Retrying in 0.02 seconds"} <= set(said.of(large))
    assert said.of(large)[-1] == "Pull complete"


async def test_a_registry_that_dies(registry: FakeRegistry, store: LocalImageStore) -> None:
    _, (small, large) = registry.add_image("web", "1", [SMALL, LARGE])
    registry.cut[large] = [1000] * 10
    with pytest.raises(RegistryProblem, match=f"blobs/{large}.*unexpected EOF"):
        await store.pull(f"{registry.host}/web:1")
    assert not await store.list()
    # A whole layer may stay until the next start or removal; nothing half does.
    assert set(left_in(store)) <= {f"blobs/sha256/{digest[7:]}" for digest in registry.blobs} - {large}
    assert not list((store._files.root / "incoming").iterdir())
    registry.cut.clear()
    assert await store.pull(f"{registry.host}/web:1")
    assert registry.asked("GET", small) == 1


async def test_content_that_is_not_its_digest(registry: FakeRegistry, store: LocalImageStore) -> None:
    _, (small,) = registry.add_image("web", "1", [SMALL])
    registry.blobs[small] = b"x" * len(registry.blobs[small])
    with pytest.raises(Failed, match=f"filesystem layer verification failed for digest {small}"):
        await store.pull(f"{registry.host}/web:1")
    registry.blobs[small] = b"x" * 100_000
    with pytest.raises(Failed, match="the registry sent more than the"):
        await store.pull(f"{registry.host}/web:1")
    assert not list((store._files.root / "incoming").iterdir())
    digest, _ = registry.add_image("web", "2", [LARGE])
    registry.manifests["web", digest] = (b'{"schemaVersion": 2}', "x")
    with pytest.raises(Failed, match=f"manifest verification failed for digest {digest}"):
        await store.pull(f"{registry.host}/web:2")


async def begun(registry: FakeRegistry, digest: str) -> None:
    await until(lambda: registry.asked("GET", digest))


async def test_two_clients_fetch_a_layer_once(registry: FakeRegistry, store: LocalImageStore) -> None:
    _, (large,) = registry.add_image("web", "1", [LARGE])
    registry.held[large] = asyncio.Event()
    one, two = Said(), Said()
    async with asyncio.TaskGroup() as group:
        for said in (one, two):
            group.create_task(store.pull(f"{registry.host}/web:1", said))
        await until(lambda: "Waiting" in one.of(large) + two.of(large))
        registry.held[large].set()
    assert registry.asked("GET", large) == 1
    for said in (one, two):
        assert "Downloading" in said.of(large)
        assert said.of(large)[-1] == "Pull complete"
    assert len(await store.list()) == 1


async def test_the_second_client_goes_on_where_the_first_left(
    registry: FakeRegistry, store: LocalImageStore
) -> None:
    _, (large,) = registry.add_image("web", "1", [LARGE])
    registry.held[large] = asyncio.Event()
    first = asyncio.create_task(store.pull(f"{registry.host}/web:1"))
    await begun(registry, large)
    said = Said()
    second = asyncio.create_task(store.pull(f"{registry.host}/web:1", said))
    await until(lambda: "Waiting" in said.of(large))
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    await asyncio.sleep(0)
    registry.held[large].set()
    assert (await second).repo_tags
    assert not list((store._files.root / "incoming").iterdir())


async def test_a_client_that_vanishes_leaves_nothing(registry: FakeRegistry, store: LocalImageStore) -> None:
    _, (large,) = registry.add_image("web", "1", [LARGE])
    registry.held[large] = asyncio.Event()
    task = asyncio.create_task(store.pull(f"{registry.host}/web:1"))
    await begun(registry, large)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not list((store._files.root / "incoming").iterdir())
    assert not store._downloads._transfers
    assert not await store.list()


async def test_a_removal_during_a_pull_takes_nothing_of_it(
    registry: FakeRegistry, store: LocalImageStore
) -> None:
    _, (small, large) = registry.add_image("web", "1", [SMALL, LARGE])
    registry.add_image("other", "1", [make_layer({"a": b"a"})])
    await store.pull(f"{registry.host}/other:1")
    registry.held[large] = asyncio.Event()
    task = asyncio.create_task(store.pull(f"{registry.host}/web:1"))
    await begun(registry, large)
    await until((store._files.blobs / small[7:]).exists)
    await store.remove(f"{registry.host}/other:1")
    assert (store._files.blobs / small[7:]).exists()
    registry.held[large].set()
    await task
    assert not store._files._held


async def test_lists_and_platforms(registry: FakeRegistry, store: LocalImageStore) -> None:
    amd64, _ = registry.add_image("web", "", [SMALL])
    arm64, _ = registry.add_image("web", "", [SMALL], architecture="arm64")
    whole = registry.add_list("web", "1", {"arm64/v8": arm64, "amd64": amd64})
    name = f"{registry.host}/web"
    image = await store.pull(f"{name}:1")
    assert image.architecture == "amd64"
    assert image.repo_digests == (f"{name}@{whole}",)
    other = await store.pull(f"{name}:1", platform="linux/arm64/v8")
    assert other.architecture == "arm64"
    assert other.repo_tags == (f"{name}:1",)
    with pytest.raises(NotFound, match="no matching manifest for linux/s390x in the manifest list entries"):
        await store.pull(f"{name}:1", platform="linux/s390x")
    with pytest.raises(InvalidRequest, match="is an invalid component"):
        await store.pull(f"{name}:1", platform="linux/a b")
    found = await store.remote(f"{name}:1")
    assert found.digest == whole
    assert [item.architecture for item in found.platforms] == ["arm64", "amd64"]
    said = Said()
    await store.pull(f"{name}@{amd64}", said, platform="linux/arm64")
    assert said.texts[-1].startswith(f"WARNING: image with reference {name} was found but does not match")


async def test_what_is_no_image(registry: FakeRegistry, store: LocalImageStore) -> None:
    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    registry.add_manifest("old", "1", {"schemaVersion": 1, "mediaType": kind})
    with pytest.raises(Unsupported, match="schema 1 is not supported"):
        await store.pull(f"{registry.host}/old:1")
    chart = {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": digest_of(b""), "size": 0}
    kind = "application/vnd.oci.image.manifest.v1+json"
    registry.add_manifest(
        "chart", "1", {"schemaVersion": 2, "mediaType": kind, "config": chart, "layers": []}
    )
    with pytest.raises(Unsupported, match="no container image"):
        await store.pull(f"{registry.host}/chart:1")


async def test_all_pages_of_tags(registry: FakeRegistry, store: LocalImageStore) -> None:
    for number in range(7):
        registry.add_image("web", f"v{number}", [SMALL])
    registry.page_size = 3
    assert await store.remote_tags(f"{registry.host}/web") == tuple(f"v{number}" for number in range(7))
    with pytest.raises(NotFound, match=r"repository .*/none not found: name unknown"):
        await store.remote_tags(f"{registry.host}/none")


async def test_what_is_not_there(registry: FakeRegistry, store: LocalImageStore) -> None:
    name = f"{registry.host}/none:1"
    with pytest.raises(NotFound) as caught:
        await store.pull(name)
    assert caught.value.message == f"manifest for {name} not found: manifest unknown: manifest unknown"
    with pytest.raises(NotFound, match=r"^manifest unknown: manifest unknown$"):
        await store.remote(name)
    with pytest.raises(RegistryProblem, match=r'Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect'):
        await store.pull("127.0.0.1:1/x")


# --- credentials


@pytest.mark.parametrize("auth", ["basic", "bearer"])
async def test_logging_in(registry: FakeRegistry, store: LocalImageStore, auth: str) -> None:
    registry.auth = auth
    registry.add_image("web", "1", [SMALL])
    name = f"{registry.host}/web:1"
    assert await store.check_credentials(registry.host, GOOD) == ""
    assert await store.check_credentials(f"http://{registry.host}/v1/", GOOD) == ""
    words = {
        "basic": f"login attempt to http://{registry.host}/v2/ failed with status: 401 Unauthorized",
        "bearer": "unauthorized: incorrect username or password",
    }
    with pytest.raises(Denied) as caught:
        await store.check_credentials(registry.host, BAD)
    assert caught.value.message == words[auth]
    assert (await store.pull(name, auth=GOOD)).repo_tags == (name,)
    for wrong in (BAD, None):
        with pytest.raises(CarrickError) as refused:
            await store.pull(name, auth=wrong)
        assert "hunter2" not in "".join(traceback.format_exception(refused.value))
    if auth == "basic":
        assert refused.value.message.endswith("no basic auth credentials")


async def test_tokens(registry: FakeRegistry, store: LocalImageStore) -> None:
    registry.auth, registry.identity_token = "bearer", "identity"
    registry.add_image("web", "1", [SMALL])
    assert await store.check_credentials(registry.host, GOOD) == "identity"
    await store.pull(f"{registry.host}/web:1", auth=GOOD)
    assert registry.tokens[-1]["scope"] == ["repository:web:pull"]
    assert registry.tokens[-1]["service"] == ["test"]
    await store.push(f"{registry.host}/web:1", auth=RegistryAuth(identity_token="identity"))
    assert registry.tokens[-1]["scope"] == ["repository:web:pull,push"]
    assert registry.tokens[-1]["grant_type"] == ["refresh_token"]


async def test_a_token_that_runs_out(registry: FakeRegistry, store: LocalImageStore) -> None:
    registry.auth = "bearer"
    _, (_, large) = registry.add_image("web", "1", [SMALL, LARGE])
    registry.held[large] = asyncio.Event()
    registry.cut[large] = [100]
    task = asyncio.create_task(store.pull(f"{registry.host}/web:1", auth=GOOD))
    await begun(registry, large)
    registry.expire_tokens()
    registry.held[large].set()
    assert (await task).repo_tags
    assert len(registry.tokens) == 2


def test_secrets_are_not_shown() -> None:
    auth = RegistryAuth("me", "hunter2", "hunter3", "hunter4")
    assert "hunter" not in repr(auth)
    assert "hunter" not in str([auth])


def test_challenges() -> None:
    header = 'Bearer realm="https://auth/token",service="a b",scope="x:y:pull,push", Basic realm="q\\"q"'
    bearer, basic = parse_challenges([header])
    assert (bearer.scheme, bearer.realm, bearer.service) == ("bearer", "https://auth/token", "a b")
    assert bearer.scope == "x:y:pull,push"
    assert (basic.scheme, basic.realm) == ("basic", 'q"q')
    assert parse_challenges(["Negotiate", ""]) == ()


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (403, b'{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}',
         "denied: requested access to the resource is denied"),
        (401, b"<html>", "unauthorized: authentication required"),
        (401, b'{"details":"wrong"}', "unauthorized: wrong"),
        (500, b"\xff", "received unexpected HTTP status: 500 Internal Server Error"),
        (429, b'{"errors":[{"code":"TOOMANYREQUESTS","message":"slow"}]}', "toomanyrequests: slow"),
        (418, b'{"errors":[]}', "received unexpected HTTP status: 418 I'm a Teapot"),
    ],
)  # fmt: skip
def test_errors_of_registries(status: int, body: bytes, message: str) -> None:
    assert problem_of(status, body).message == message


def test_insecure_registries() -> None:
    settings = RegistrySettings(("reg.example:5000", "10.0.0.0/8", "plain.example"))
    for host in ("127.0.0.1:5000", "localhost", "[::1]:5000", "reg.example:5000", "10.1.2.3:80",
                 "plain.example:99"):  # fmt: skip
        assert settings.allows_insecure(host), host
    for host in ("reg.example", "11.0.0.1", "example.com:443", "[2001:db8::1]:5000"):
        assert not settings.allows_insecure(host), host


# --- push


async def test_what_was_pulled_goes_out_as_it_was(registry: FakeRegistry, store: LocalImageStore) -> None:
    digest, _ = registry.add_image("web", "1", [SMALL])
    await store.pull(f"{registry.host}/web:1")
    await store.tag(f"{registry.host}/web:1", f"{registry.host}/mirror/web:2")
    said = Said()
    result = await store.push(f"{registry.host}/mirror/web:2", said)
    assert (result.tag, result.digest) == ("2", digest)
    assert said.texts[0] == f"The push refers to repository [{registry.host}/mirror/web]"
    assert said.texts[-1] == f"2: digest: {digest} size: {result.size}"
    assert said.of(digest_of(SMALL)) == ["Preparing", "Layer already exists"]
    image = await store.get(f"{registry.host}/mirror/web:2")
    assert f"{registry.host}/mirror/web@{digest}" in image.repo_digests


async def test_a_layer_comes_from_a_sibling(registry: FakeRegistry, store: LocalImageStore) -> None:
    _, (small,) = registry.add_image("web", "1", [SMALL])
    await store.pull(f"{registry.host}/web:1")
    await store.tag(f"{registry.host}/web:1", f"{registry.host}/copy:1")
    registry.elsewhere.add(small)
    await store.push(f"{registry.host}/copy:1", said := Said())
    assert said.of(digest_of(SMALL)) == ["Preparing", "Mounted from web"]
    assert not registry.asked("PATCH", "")


@pytest.fixture
def root_tar(tmp_path: Path) -> Path:
    path = tmp_path / "root.tar"
    path.write_bytes(LARGE)
    return path


async def test_an_import_is_compressed_the_same_each_time(
    registry: FakeRegistry, store: LocalImageStore, root_tar: Path, tmp_path: Path, umoci: Path
) -> None:
    image_id = await store.import_tar(root_tar, f"{registry.host}/imp")
    said = Said()
    first = await store.push(f"{registry.host}/imp", said)
    statuses = said.of(digest_of(LARGE))
    assert statuses == ["Preparing", "Pushing", "Pushed"]
    last = [line for line in said if line.status == "Pushing"][-1]
    assert last.current == last.total
    blobs = set(registry.blobs)
    again = await store.push(f"{registry.host}/imp", said := Said())
    assert again == first
    assert set(registry.blobs) == blobs
    assert said.of(digest_of(LARGE)) == ["Preparing", "Layer already exists"]
    manifest = msgspec.json.decode(registry.manifests["imp", "latest"][0])
    assert manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert gzip.decompress(registry.blobs[manifest["layers"][0]["digest"]]) == LARGE
    other = await open_store(tmp_path / "other", umoci)
    assert (await other.pull(f"{registry.host}/imp")).id == image_id
    # The layer is here plain, not as the registry has it: the image is known all the same.
    registry.requests.clear()
    await store.tag(image_id, "keep:1")
    await store.remove(f"{registry.host}/imp:latest")
    await store.pull(f"{registry.host}/imp")
    assert not registry.asked("GET", "/blobs/")


async def test_an_upload_that_breaks(registry: FakeRegistry, store: LocalImageStore, root_tar: Path) -> None:
    await store.import_tar(root_tar, f"{registry.host}/imp")
    registry.refuse_uploads = 2
    await store.push(f"{registry.host}/imp", said := Said())
    assert {"Retrying in 0.01 seconds", "Retrying in 0.02 seconds"} <= set(said.of(digest_of(LARGE)))
    registry.blobs.clear()
    registry.refuse_uploads = 100
    with pytest.raises(RegistryProblem, match=r'^Patch "'):
        await store.push(f"{registry.host}/imp")
    assert not list((store._files.root / "work").iterdir())


async def test_what_cannot_be_pushed(registry: FakeRegistry, store: LocalImageStore) -> None:
    digest, _ = registry.add_image("web", "1", [SMALL])
    await store.pull(f"{registry.host}/web:1")
    with pytest.raises(NotFound, match=f"^tag does not exist: {registry.host}/web:2$"):
        await store.push(f"{registry.host}/web:2")
    with pytest.raises(NotFound, match=r"^An image does not exist locally with the tag: none$"):
        await store.push("none")
    with pytest.raises(InvalidRequest, match="cannot push a digest reference"):
        await store.push(f"{registry.host}/web@{digest}")
    registry.auth = "basic"
    with pytest.raises(RegistryProblem, match=r"^no basic auth credentials$"):
        await store.push(f"{registry.host}/web:1")
    with pytest.raises(RegistryProblem, match=r"^unauthorized: authentication required$"):
        await store.push(f"{registry.host}/web:1", auth=BAD)


# --- search, import, zstd


async def test_search(registry: FakeRegistry, store: LocalImageStore) -> None:
    registry.found = [{"name": "a/b", "description": None, "star_count": 3}, {"name": "c"}]
    found = await store.search(f"{registry.host}/b", limit=1)
    assert [(item.name, item.stars, item.description) for item in found] == [("a/b", 3, "")]
    assert registry.requests[-1] == "GET /v1/search?q=b&n=1"
    with pytest.raises(InvalidRequest, match="outside the range"):
        await store.search("x", limit=0)


async def test_import_from_a_url(registry: FakeRegistry, store: LocalImageStore, tmp_path: Path) -> None:
    digest = registry.add_blob(LARGE)
    url = f"{registry.host}/v2/x/blobs/{digest}"
    said = Said()
    image_id = await store.import_url(url, "imp:1", ("CMD x",), progress=said)
    image = await store.get("imp:1")
    assert (image.id, image.config.cmd) == (image_id, ("/bin/sh", "-c", "x"))
    assert image.comment == f"Imported from http://{url}"
    assert said[0].status == f"Downloading from http://{url}"
    assert said[-1] == Progress("Importing", current=len(LARGE), total=len(LARGE))
    with pytest.raises(NotFound, match=r"^failed to GET .* with status 404 Not Found"):
        await store.import_url(f"http://{registry.host}/none")
    with pytest.raises(InvalidRequest, match='unsupported protocol scheme "file"'):
        await store.import_url("file:///etc/passwd")
    with pytest.raises(Failed, match="more than the limit of 10"):
        await fetch_archive(url, tmp_path / "x", said, max_size=10)
    registry.cut[digest] = [1000]
    with pytest.raises(RegistryProblem, match="unexpected EOF"):
        await store.import_url(url)
    with pytest.raises(InvalidRequest, match="is not a valid change command"):
        await store.import_url(url, "", ("NONSENSE x",))


async def test_zstd(tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    plain.write_bytes(LARGE)
    process = await asyncio.create_subprocess_exec("zstd", "-q", str(plain), "-o", str(packed))
    assert await process.wait() == 0
    assert archives.compression_of(packed) == "zstd"
    assert archives.uncompressed_size(packed) == len(LARGE)
    archives.decompress(packed, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == LARGE
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    assert archives.make_layer(packed, blobs).digest == digest_of(LARGE)
    packed.write_bytes(packed.read_bytes()[:1000])
    with pytest.raises(InvalidRequest, match="cannot be decompressed"):
        archives.decompress(packed, tmp_path / "again")

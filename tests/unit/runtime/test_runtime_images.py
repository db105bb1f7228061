"""References, manifests and the rules of the image index."""

import io
import tarfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from carrick.host.runtime import archives, oci
from carrick.host.runtime.extraction import Extraction
from carrick.host.runtime.image_store import ImageRemoval, ImageUser, Progress
from carrick.host.runtime.imageindex import ImageIndex, StoredImage, plan_removal
from carrick.host.runtime.reference import is_image_id, parse_reference
from carrick.host.runtime.timestamps import parse_moment, parse_rfc3339
from carrick.model.containers import Image, ImageConfig, ImageHistory
from carrick.model.errors import Conflict, Failed, InvalidRequest, NotFound
from carrick.model.ids import ContainerId, ImageId

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "name", "familiar"),
    [
        ("busybox", "docker.io/library/busybox", "busybox:latest"),
        ("busybox:1", "docker.io/library/busybox", "busybox:1"),
        ("index.docker.io/busybox", "docker.io/library/busybox", "busybox:latest"),
        ("docker.io/team/app", "docker.io/team/app", "team/app:latest"),
        ("team/app:v1.2_x", "docker.io/team/app", "team/app:v1.2_x"),
        ("localhost/app", "localhost/app", "localhost/app:latest"),
        ("localhost:5000/a/b:t", "localhost:5000/a/b", "localhost:5000/a/b:t"),
        ("[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app:latest"),
        ("quay.io/a/b__c-d", "quay.io/a/b__c-d", "quay.io/a/b__c-d:latest"),
        (f"busybox@{DIGEST}", "docker.io/library/busybox", f"busybox@{DIGEST}"),
        (f"busybox:1@{DIGEST}", "docker.io/library/busybox", f"busybox:1@{DIGEST}"),
    ],
)
def test_references(text: str, name: str, familiar: str) -> None:
    reference = parse_reference(text).with_default_tag()
    assert (reference.name, reference.familiar) == (name, familiar)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "invalid reference format"),
        ("a b", "invalid reference format"),
        ("-x", "invalid reference format"),
        ("x:", "invalid reference format"),
        ("x:-t", "invalid reference format"),
        ("x@sha256:12", "invalid reference format"),
        ("/x", "invalid reference format"),
        ("Busybox", r"repository name \(library/Busybox\) must be lowercase"),
        ("ab" * 32, "cannot specify 64-byte hexadecimal strings"),
        ("x" * 300, "must not be more than 255 characters"),
    ],
)
def test_references_that_are_none(text: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        parse_reference(text)


def test_loopback_registries() -> None:
    for name in ("localhost/x", "localhost:1/x", "127.0.0.1:5000/x", "127.9.9.9/x", "[::1]:5/x"):
        assert parse_reference(name).is_loopback, name
    for name in ("busybox", "10.0.0.1:5000/x", "example.org/x"):
        assert not parse_reference(name).is_loopback, name
    assert is_image_id("abc123") and is_image_id(DIGEST) and not is_image_id("xyz")


def image(number: int, *tags: str, digests: tuple[str, ...] = ()) -> StoredImage:
    identity = ImageId("sha256:" + f"{number:02x}" * 32)
    layers = ("sha256:base", f"sha256:layer{number}")
    return StoredImage(
        Image(identity, repo_tags=tags, repo_digests=digests, layers=layers), "m", (f"b{number}",)
    )


def index_of(*stored: StoredImage) -> ImageIndex:
    return ImageIndex({entry.image.id: entry for entry in stored})


def test_lookup() -> None:
    one, two = image(0x1A, "a:latest", "team/b:1"), image(0x1B, digests=(f"c@{DIGEST}",))
    index = index_of(one, two)
    assert index.find("a") is one and index.find("docker.io/team/b:1") is one
    assert index.find(f"c@{DIGEST}") is two
    assert index.find(two.image.id) is two and index.find("1b1b") is two
    assert index.find("sha256:1a1") is one
    with pytest.raises(InvalidRequest, match=r"prefix 1 is ambiguous: 1a1a1a1a1a1a, 1b1b1b1b1b1b"):
        index.find("1")
    with pytest.raises(NotFound, match=r"^No such image: absent:latest$"):
        index.find("absent")
    with pytest.raises(NotFound, match=r"^No such image: registry\.example/x:1$"):
        index.find("registry.example/x:1")


def test_a_name_moves_and_an_image_keeps_its_others() -> None:
    index = index_of(image(1, "a:latest", "b:1")).add(image(2), ["a:latest"])
    assert index.find("a").image.id == image(2).image.id
    assert index.find("b:1").image.repo_tags == ("b:1",)
    again = index.add(image(2), ["c:1"], [f"c@{DIGEST}"])
    assert again.find("c:1").image.repo_tags == ("a:latest", "c:1")
    assert again.find("c:1").image.repo_digests == (f"c@{DIGEST}",)
    assert again.blobs() == {"b1", "b2"}


def users(number: int, *, running: bool) -> list[ImageUser]:
    return [ImageUser(ContainerId("c" * 64), image(number).image.id, running)]


def test_removal_by_name() -> None:
    index = index_of(image(1, "a:1", "b:1", digests=(f"a@{DIGEST}",)), image(2, "z:1"))
    plan = plan_removal(index, "a:1", force=False, users=users(1, running=True))
    assert plan.report == (ImageRemoval(untagged="a:1"), ImageRemoval(untagged=f"a@{DIGEST}"))
    assert plan.deleted is None
    last = plan.index
    with pytest.raises(Conflict) as caught:
        plan_removal(last, "b:1", force=False, users=users(1, running=False))
    assert caught.value.message == (
        'conflict: unable to remove repository reference "b:1" (must force) - container '
        "cccccccccccc is using its referenced image 010101010101"
    )
    forced = plan_removal(last, "b:1", force=True, users=users(1, running=True))
    assert forced.deleted is None and forced.index.find("0101").image.repo_tags == ()
    gone = plan_removal(last, "b:1", force=False, users=())
    identity = image(1).image.id
    assert gone.deleted == identity
    assert gone.report == (
        ImageRemoval(untagged="b:1"),
        ImageRemoval(deleted=identity),
        ImageRemoval(deleted="sha256:layer1"),
    )


def test_removal_by_id() -> None:
    index = index_of(image(1, "a:1", "b:1"))
    with pytest.raises(Conflict, match="image is referenced in multiple repositories"):
        plan_removal(index, "0101", force=False, users=())
    assert plan_removal(index, "0101", force=True, users=()).deleted
    single = index_of(image(1, "a:1"))
    for force, running, words in (
        (False, False, r"\(must be forced\) - image is being used by stopped container c"),
        (True, True, r"\(cannot be forced\) - image is being used by running container c"),
    ):
        with pytest.raises(Conflict, match=words):
            plan_removal(single, "0101", force=force, users=users(1, running=running))
    with pytest.raises(Conflict, match="is being used by running container"):
        plan_removal(index, "0101", force=False, users=users(1, running=True))


@pytest.mark.parametrize("reference", ["a:1", "0101"])
def test_what_a_stopped_container_is_made_of(reference: str) -> None:
    """It is gone from sight, and its files are there as long as the container is."""
    single = index_of(image(1, "a:1"))
    plan = plan_removal(single, reference, force=True, users=users(1, running=False))
    identity = image(1).image.id
    assert plan.deleted is None
    assert plan.report == (ImageRemoval(untagged="a:1"), ImageRemoval(deleted=identity))
    with pytest.raises(NotFound):
        plan.index.find("0101")
    assert list(plan.index.orphans) == [identity]
    assert plan.index.blobs() == single.blobs()
    assert plan.index.without_orphans({identity}) == plan.index
    assert not plan.index.without_orphans(()).all()
    back = plan.index.add(image(1), ["b:1"])
    assert back.find("b:1").image.id == identity and not back.orphans


def test_changes_of_an_import() -> None:
    config = oci.apply_changes(
        ImageConfig(),
        (
            'CMD ["a", "b c"]',
            "entrypoint run it",
            "ENV A=1 B='2 3'",
            "ENV A 9",
            'LABEL x="y z" q=1',
            "EXPOSE 80 53/udp",
            "USER ann",
            "WORKDIR /a",
            "WORKDIR b",
            'VOLUME ["/v", "/w"]',
            "STOPSIGNAL SIGINT",
        ),
    )
    assert config == ImageConfig(
        env=("B=2 3", "A=9"),
        cmd=("a", "b c"),
        entrypoint=("/bin/sh", "-c", "run it"),
        user="ann",
        working_dir="/a/b",
        exposed_ports=("53/udp", "80/tcp"),
        volumes=("/v", "/w"),
        labels={"x": "y z", "q": "1"},
        stop_signal="SIGINT",
    )
    for change, words in (
        ("RUN x", "RUN is not a valid change command"),
        ("CMD", "CMD requires"),
        ("EXPOSE x", "invalid containerPort"),
        ("ENV A", "must have two arguments"),
        ("LABEL a=1 b", "can't find ="),
    ):
        with pytest.raises(InvalidRequest, match=words):
            oci.apply_changes(ImageConfig(), (change,))


def test_configuration_blobs() -> None:
    text = msgspec.json.encode(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "2024-01-02T03:04:05.123456789Z",
            "config": {
                "Env": ["A=1"],
                "Cmd": ["sh"],
                "Healthcheck": {"Test": ["CMD", "x"], "Interval": 1500000000, "Retries": 2},
                "ExposedPorts": {"80/tcp": {}},
                "Unknown": 1,
            },
            "history": [{"created_by": "one"}, {"created_by": "env", "empty_layer": True}],
            "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
        }
    )
    parsed = oci.parse_image(text, [77])
    assert parsed.id == oci.digest_of(text)
    assert [step.size for step in parsed.history] == [77, 0]
    assert parsed.config.healthcheck is not None
    assert parsed.config.healthcheck.interval_s == 1.5
    assert parsed.config.exposed_ports == ("80/tcp",)
    with pytest.raises(Failed):
        oci.parse_image(b"[]", [])
    with pytest.raises(Failed):
        oci.parse_manifest(b'{"schemaVersion": 1}')


def test_layout_with_an_index_in_an_index(tmp_path: Path) -> None:
    blobs = tmp_path / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes) -> str:
        digest = oci.digest_of(data)
        (blobs / digest.removeprefix("sha256:")).write_bytes(data)
        return digest

    amd, arm = put(b'{"amd64": 1}'), put(b'{"arm64": 1}')
    nested = put(
        msgspec.json.encode(
            {
                "manifests": [
                    {"digest": arm, "platform": {"architecture": "arm64"}},
                    {"digest": amd, "platform": {"architecture": "amd64"}},
                ]
            }
        )
    )
    named = {"digest": nested, "mediaType": oci.OCI_INDEX}
    index = {
        "manifests": [
            named | {"annotations": {oci.CONTAINERD_NAME: "docker.io/team/x:1"}},
            named | {"annotations": {oci.REF_NAME: "latest"}},
            {"digest": arm, "annotations": {oci.REF_NAME: "plain:2"}},
        ]
    }
    (tmp_path / "index.json").write_bytes(msgspec.json.encode(index))
    assert archives.layout_images(tmp_path, "amd64") == [
        (b'{"amd64": 1}', ("team/x:1",)),
        (b'{"arm64": 1}', ("plain:2",)),
    ]
    bad = {"manifests": [{"digest": "sha256:../../etc/passwd"}]}
    (tmp_path / "index.json").write_bytes(msgspec.json.encode(bad))
    with pytest.raises(Failed, match="unsupported digest"):
        archives.layout_images(tmp_path, "amd64")


def test_saved_archive_can_be_read_again(tmp_path: Path) -> None:
    blobs = tmp_path / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    plain = tmp_path / "rootfs.tar"
    with tarfile.open(plain, "w") as archive:
        archive.addfile(tarfile.TarInfo("empty"), io.BytesIO())
    layer = archives.make_layer(plain, blobs)
    (blobs / "cc").write_bytes(b"{}")
    saved = archives.SavedImage("cc", ((layer.hex, layer.hex),), ("a:1", "b:2"))
    target = tmp_path / "out.tar"
    archives.write_docker_archive(target, blobs, [saved, replace(saved, tags=())])
    assert archives.kind_of_archive(target) is archives.ArchiveKind.DOCKER
    with tarfile.open(target) as archive:
        assert archive.getnames() == [f"{layer.hex}.tar", "cc.json", "manifest.json"]


def docker_archive(target: Path, files: dict[str, bytes], links: dict[str, tuple[bytes, str]]) -> None:
    with tarfile.open(target, "w:gz") as archive:
        for name, (kind, place) in links.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, place
            archive.addfile(member)
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def two_images(layer: bytes, *diff_ids: str) -> dict[str, bytes]:
    """What Docker 20.10 saves of two images that share a layer."""
    config = msgspec.json.encode({"rootfs": {"type": "layers", "diff_ids": diff_ids}})
    entries = [
        {"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["one/layer.tar"] * len(diff_ids)},
        {"Config": "./c.json", "RepoTags": None, "Layers": ["two/layer.tar"] * len(diff_ids)},
    ]
    return {"one/layer.tar": layer, "c.json": config, "manifest.json": msgspec.json.encode(entries)}


def test_images_of_an_archive_may_share_layers(tmp_path: Path) -> None:
    layer = b"layer" * 1000
    digest = oci.digest_of(layer)
    for number, link in enumerate(
        [(tarfile.SYMTYPE, "../one/layer.tar"), (tarfile.LNKTYPE, "one/layer.tar")]
    ):
        source = tmp_path / f"{number}.tar.gz"
        docker_archive(source, two_images(layer, digest), {"two/layer.tar": link})
        blobs = tmp_path / f"blobs{number}"
        first, second = archives.extract_docker_images(source, blobs)
        assert (first.tags, second.tags) == (("a:1",), ())
        manifest = oci.parse_manifest(second.manifest)
        assert [(item.digest, item.size) for item in manifest.layers] == [(digest, len(layer))]
        assert (blobs / manifest.layers[0].hex).read_bytes() == layer
        assert (blobs / manifest.config.hex).exists()


@pytest.mark.parametrize(
    ("links", "diff_ids", "words"),
    [
        ({}, [oci.digest_of(b"x")], "names two/layer.tar, but does not hold it"),
        ({"two/layer.tar": (tarfile.SYMTYPE, "layer.tar")}, [oci.digest_of(b"x")], "does not hold it"),
        ({"two/layer.tar": (tarfile.SYMTYPE, "../../one/layer.tar")}, [oci.digest_of(b"x")], "not hold"),
        ({}, [DIGEST], "invalid diffID for layer 0: expected .sha256:abab"),
        ({}, [], "names two/layer.tar|layers length mismatch"),
    ],
)
def test_archives_that_do_not_hold_what_they_promise(
    tmp_path: Path, links: dict[str, tuple[bytes, str]], diff_ids: list[str], words: str
) -> None:
    files = two_images(b"x", *diff_ids)
    if not diff_ids:
        files["manifest.json"] = files["manifest.json"].replace(b"[]", b'["one/layer.tar"]')
    docker_archive(tmp_path / "a.tar", files, links)
    with pytest.raises(InvalidRequest, match=words):
        archives.extract_docker_images(tmp_path / "a.tar", tmp_path / "blobs")


def test_an_image_made_of_another() -> None:
    base = msgspec.json.encode(
        {
            "architecture": "arm64",
            "variant": "v8",
            "history": [{"created_by": "one"}, {"created_by": "two", "empty_layer": True}],
            "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
        }
    )
    other = "sha256:" + "cd" * 32
    new = oci.NewImage(
        architecture="amd64",
        diff_id=other,
        created=datetime(2024, 1, 2, tzinfo=UTC),
        author="me",
        created_by="sh -c x",
        config=ImageConfig(labels={"a": "b"}, stop_signal="SIGINT", volumes=("/v",)),
        container="c1",
        container_config=ImageConfig(cmd=("sh",)),
        base=base,
        builder="1",
    )
    made = oci.parse_image(oci.render_image(new), [1, 2])
    assert (made.architecture, made.variant, made.layers) == ("arm64", "v8", (DIGEST, other))
    assert [(step.created_by, step.size) for step in made.history] == [("one", 1), ("two", 0), ("sh -c x", 2)]
    assert (made.author, made.history[2].author, made.builder, made.container) == ("me", "me", "1", "c1")
    assert made.config == new.config and made.container_config == new.container_config
    nothing = oci.parse_image(oci.render_image(replace(new, diff_id="")), [1])
    assert nothing.layers == (DIGEST,) and nothing.history[2].empty_layer


def test_what_an_image_was_made_from() -> None:
    one, two, three = ImageHistory(created_by="1"), ImageHistory(created_by="2"), ImageHistory()
    base, child, other = (
        replace(stored, image=replace(stored.image, history=history))
        for stored, history in (
            (image(1), (one,)), (image(2), (one, two)), (image(3), (three, two)),
        )
    )  # fmt: skip
    index = index_of(base, child, other)
    parent = base.image.id
    assert index.link(child.image.id, parent).images[child.image.id].image.parent == parent
    for identity, of in ((other.image.id, parent), (base.image.id, parent), (child.image.id, "sha256:00")):
        assert index.link(identity, of) is index


def test_when_an_image_was_named() -> None:
    moment = datetime(2024, 1, 2, tzinfo=UTC)
    index = index_of(image(1, "a:latest")).tag(image(1).image.id, "b:1", moment)
    again = index.add(image(1), ["c:1"])
    assert again.find("a").image.tagged_at == moment
    assert index_of(image(1)).add(image(1), ["a:1"]).find("a:1").image.tagged_at is None


def test_progress_of_an_extraction() -> None:
    said: list[Progress] = []
    other = "sha256:" + "cd" * 32
    shown = Extraction((DIGEST, other), said.append)
    shown.on_line("unpack rootfs: /x")
    shown.on_line(f"unpack layer: {DIGEST}")
    shown.on_line(f"unpack layer: {DIGEST}")
    shown.on_line(f"unpack layer: {other}")
    shown.finish()
    shown.finish()
    assert [(event.status, event.id) for event in said] == [
        ("Extracting", "abababababab"),
        ("Pull complete", "abababababab"),
        ("Extracting", "cdcdcdcdcdcd"),
        ("Pull complete", "cdcdcdcdcdcd"),
    ]


def test_times() -> None:
    assert parse_rfc3339("1970-01-01T00:00:01.000000002Z") == 1_000_000_002
    assert parse_rfc3339("1970-01-01T01:00:01.5+01:00") == 1_500_000_000
    assert parse_rfc3339("1970-01-01T00:00:01Z") == 1_000_000_000
    assert parse_rfc3339("never") == 0
    assert parse_moment("") is None
    moment = parse_moment("2024-01-02T03:04:05.5Z")
    assert moment is not None and moment.isoformat() == "2024-01-02T03:04:05.500000+00:00"

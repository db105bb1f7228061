"""Read and write what images are made of: manifests, configurations, OCI layouts (image-spec 1.0).

Docker's own types (schema 2) and OCI's differ in names only, so a manifest of the one is turned into
the other by renaming; the blobs, and with them the image's id, stay as they are.
"""

import hashlib
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import msgspec

from ...model.containers import Healthcheck, Image, ImageConfig, ImageHistory
from ...model.errors import Failed, InvalidRequest
from ...model.ids import ImageId
from .healthcheck import parse_healthcheck
from .timestamps import parse_moment

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"

_DIGEST = re.compile(r"sha256:[a-f0-9]{64}")
_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?")
_NS = 1_000_000_000


class Descriptor(msgspec.Struct, rename="camel", omit_defaults=True):
    """A reference to a blob."""

    digest: str
    size: int = 0
    media_type: str = ""
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    platform: dict[str, object] = msgspec.field(default_factory=dict)

    @property
    def hex(self) -> str:
        """The digest's hex digits; also what makes it safe as a file name."""
        if not _DIGEST.fullmatch(self.digest):
            raise Failed(f"unsupported digest {self.digest!r}")
        return self.digest.removeprefix("sha256:")


class Manifest(msgspec.Struct, rename="camel", omit_defaults=True):
    """An image manifest, Docker's schema 2 or OCI's."""

    config: Descriptor
    layers: list[Descriptor]
    schema_version: int = msgspec.field(default=2, name="schemaVersion")
    media_type: str = ""


class Index(msgspec.Struct, rename="camel"):
    """An OCI index, or Docker's manifest list."""

    manifests: list[Descriptor]
    schema_version: int = msgspec.field(default=2, name="schemaVersion")
    media_type: str = ""


class Kind(msgspec.Struct, rename="camel"):
    """What a manifest says that it is."""

    schema_version: int = msgspec.field(default=0, name="schemaVersion")
    media_type: str = ""
    manifests: list[object] | None = None


class _RawHealthcheck(msgspec.Struct, rename="pascal", omit_defaults=True):
    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class _RawConfig(msgspec.Struct, rename="pascal", omit_defaults=True):
    env: list[str] | None = None
    cmd: list[str] | None = None
    entrypoint: list[str] | None = None
    user: str | None = None
    working_dir: str | None = None
    exposed_ports: dict[str, object] | None = None
    volumes: dict[str, object] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | None = None
    healthcheck: _RawHealthcheck | None = None
    on_build: list[str] | None = None
    shell: list[str] | None = None
    args_escaped: bool | None = None


class _RawHistory(msgspec.Struct, omit_defaults=True):
    created: str | None = None
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class _RawRootfs(msgspec.Struct):
    type: str = "layers"
    diff_ids: list[str] | None = None


class _RawImage(msgspec.Struct, omit_defaults=True):
    architecture: str = ""
    os: str = ""
    variant: str = ""
    created: str | None = None
    author: str | None = None
    comment: str | None = None
    container: str | None = None
    container_config: _RawConfig | None = None
    docker_version: str | None = None
    config: _RawConfig | None = None
    history: list[_RawHistory] | None = None
    rootfs: _RawRootfs = msgspec.field(default_factory=_RawRootfs)


def digest_of(data: bytes) -> str:
    """Return `sha256:…` of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def parse_manifest(text: bytes) -> Manifest:
    """Read a manifest. Raises Failed for schema 1 and for what is none."""
    try:
        return msgspec.json.decode(text, type=Manifest)
    except msgspec.MsgspecError as error:
        raise Failed(f"the image's manifest cannot be read: {error}") from error


def read_kind(text: bytes) -> Kind:
    """Read what a manifest says that it is. Raises Failed for what is none."""
    try:
        return msgspec.json.decode(text, type=Kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Failed(f"the image's manifest cannot be read: {error}") from error


def parse_index(text: bytes) -> Index:
    """Read an index."""
    try:
        return msgspec.json.decode(text, type=Index)
    except msgspec.MsgspecError as error:
        raise InvalidRequest(f"the image index cannot be read: {error}") from error


def as_oci(manifest: Manifest) -> bytes:
    """Return the manifest with OCI's types, for tools that know no others."""
    layers = [
        Descriptor(layer.digest, layer.size, _oci_layer_type(layer.media_type)) for layer in manifest.layers
    ]
    config = Descriptor(manifest.config.digest, manifest.config.size, OCI_CONFIG)
    return msgspec.json.encode(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config,
            "layers": layers,
        }
    )


def _oci_layer_type(media_type: str) -> str:
    if media_type.endswith("zstd"):
        return f"{OCI_LAYER}+zstd"
    if media_type.endswith("gzip"):
        return f"{OCI_LAYER}+gzip"
    return OCI_LAYER


def parse_image(text: bytes, layer_sizes: list[int]) -> Image:
    """Read a configuration blob; the image's id is its digest."""
    try:
        raw = msgspec.json.decode(text, type=_RawImage)
    except msgspec.MsgspecError as error:
        raise Failed(f"the image's configuration cannot be read: {error}") from error
    sizes = iter(layer_sizes)
    history = tuple(
        ImageHistory(
            created=parse_moment(entry.created or ""),
            created_by=entry.created_by,
            author=entry.author,
            comment=entry.comment,
            empty_layer=entry.empty_layer,
            size=0 if entry.empty_layer else next(sizes, 0),
        )
        for entry in raw.history or ()
    )
    return Image(
        id=ImageId(digest_of(text)),
        created=parse_moment(raw.created or ""),
        architecture=raw.architecture,
        variant=raw.variant,
        os=raw.os or "linux",
        author=raw.author or "",
        comment=raw.comment or "",
        layers=tuple(raw.rootfs.diff_ids or ()),
        history=history,
        config=_parse_config(raw.config or _RawConfig()),
        builder=raw.docker_version or "",
        container=raw.container or "",
        container_config=None if raw.container_config is None else _parse_config(raw.container_config),
    )


def _single_ports(specs: Iterable[str]) -> tuple[str, ...]:
    """Return `8000/tcp` and `8001/tcp` for `8000-8001/tcp`. What is no port exposes nothing."""
    found = set()
    for match in filter(None, map(_PORTS.fullmatch, specs)):
        first, last, protocol = int(match[1]), int(match[2] or match[1]), match[3] or "tcp"
        found |= {(port, protocol) for port in range(first, min(last, 65535) + 1) if port}
    return tuple(f"{port}/{protocol}" for port, protocol in sorted(found))


def _parse_config(raw: _RawConfig) -> ImageConfig:
    check = raw.healthcheck
    return ImageConfig(
        env=tuple(raw.env or ()),
        cmd=None if raw.cmd is None else tuple(raw.cmd),
        entrypoint=None if raw.entrypoint is None else tuple(raw.entrypoint),
        user=raw.user or "",
        working_dir=raw.working_dir or "",
        exposed_ports=_single_ports(raw.exposed_ports or ()),
        volumes=tuple(sorted(raw.volumes or ())),
        labels=raw.labels or {},
        stop_signal=raw.stop_signal or "",
        healthcheck=None
        if check is None
        else Healthcheck(
            test=tuple(check.test or ()),
            interval_s=check.interval / _NS,
            timeout_s=check.timeout / _NS,
            start_period_s=check.start_period / _NS,
            start_interval_s=check.start_interval / _NS,
            retries=check.retries,
        ),
        on_build=tuple(raw.on_build or ()),
        shell=tuple(raw.shell or ()),
        args_escaped=bool(raw.args_escaped),
    )


def _raw_healthcheck(check: Healthcheck | None) -> _RawHealthcheck | None:
    if check is None:
        return None
    return _RawHealthcheck(
        test=list(check.test) or None,
        interval=round(check.interval_s * _NS),
        timeout=round(check.timeout_s * _NS),
        start_period=round(check.start_period_s * _NS),
        start_interval=round(check.start_interval_s * _NS),
        retries=check.retries,
    )


@dataclass(frozen=True, slots=True)
class NewImage:
    """What `render_image` needs to write a configuration.

    `base` is the configuration blob of the image below, if there is one: its layers and its history come
    first. Without `diff_id` the step adds no layer.
    """

    architecture: str
    diff_id: str
    created: datetime
    comment: str = ""
    author: str = ""
    created_by: str = ""
    config: ImageConfig = field(default_factory=ImageConfig)
    container: str = ""
    container_config: ImageConfig = field(default_factory=ImageConfig)
    base: bytes = b""
    builder: str = ""


def render_image(new: NewImage) -> bytes:
    """Write a configuration blob."""
    created = new.created.isoformat().replace("+00:00", "Z")
    base = msgspec.json.decode(new.base, type=_RawImage) if new.base else _RawImage()
    step = _RawHistory(
        created=created,
        created_by=new.created_by,
        author=new.author,
        comment=new.comment,
        empty_layer=not new.diff_id,
    )
    return msgspec.json.encode(
        _RawImage(
            architecture=base.architecture or new.architecture,
            variant=base.variant,
            os="linux",
            created=created,
            author=new.author or None,
            comment=new.comment or None,
            container=new.container or None,
            container_config=_raw_config(new.container_config),
            docker_version=new.builder or None,
            config=_raw_config(new.config),
            history=[*(base.history or []), step],
            rootfs=_RawRootfs(
                diff_ids=[*(base.rootfs.diff_ids or []), *([new.diff_id] if new.diff_id else [])]
            ),
        )
    )


def _raw_config(config: ImageConfig) -> _RawConfig:
    return _RawConfig(
        env=list(config.env) or None,
        cmd=None if config.cmd is None else list(config.cmd),
        entrypoint=None if config.entrypoint is None else list(config.entrypoint),
        user=config.user or None,
        working_dir=config.working_dir or None,
        exposed_ports={port: {} for port in config.exposed_ports} or None,
        volumes={path: {} for path in config.volumes} or None,
        labels=config.labels or None,
        stop_signal=config.stop_signal or None,
        healthcheck=_raw_healthcheck(config.healthcheck),
        on_build=list(config.on_build) or None,
        shell=list(config.shell) or None,
    )


# --- `--change` -----------------------------------------------------------------------------------


def apply_changes(config: ImageConfig, changes: tuple[str, ...]) -> ImageConfig:
    """Apply Dockerfile instructions, as `docker import --change` takes them."""
    for change in changes:
        keyword, _, rest = change.strip().partition(" ")
        config = _apply_change(config, keyword.upper(), rest.strip())
    return config


def _apply_change(config: ImageConfig, keyword: str, rest: str) -> ImageConfig:
    if not rest:
        raise InvalidRequest(f"{keyword} requires exactly one argument")
    match keyword:
        case "CMD":
            return replace(config, cmd=_command(rest))
        case "ENTRYPOINT":
            return replace(config, entrypoint=_command(rest))
        case "ENV":
            pairs = _pairs(keyword, rest)
            names = {entry.partition("=")[0] for entry in pairs}
            kept = tuple(e for e in config.env if e.partition("=")[0] not in names)
            return replace(config, env=kept + tuple(pairs))
        case "LABEL":
            labels = dict(pair.split("=", 1) for pair in _pairs(keyword, rest))
            return replace(config, labels=config.labels | labels)
        case "EXPOSE":
            ports = [port if "/" in port else f"{port}/tcp" for port in rest.split()]
            for port in ports:
                if not _PORTS.fullmatch(port):
                    raise InvalidRequest(f"invalid containerPort: {port}")
            return replace(config, exposed_ports=_single_ports({*config.exposed_ports, *ports}))
        case "USER":
            return replace(config, user=rest)
        case "WORKDIR":
            base = config.working_dir or "/"
            path = rest if rest.startswith("/") else f"{base.rstrip('/')}/{rest}"
            return replace(config, working_dir=path)
        case "VOLUME":
            paths = _json_list(rest) or tuple(rest.split())
            return replace(config, volumes=tuple(sorted({*config.volumes, *paths})))
        case "ONBUILD":
            return replace(config, on_build=(*config.on_build, rest))
        case "STOPSIGNAL":
            return replace(config, stop_signal=rest)
        case "HEALTHCHECK":
            return replace(config, healthcheck=parse_healthcheck(rest))
        case _:
            raise InvalidRequest(f"{keyword} is not a valid change command")


def _json_list(text: str) -> tuple[str, ...] | None:
    try:
        return tuple(msgspec.json.decode(text, type=list[str]))
    except msgspec.MsgspecError:
        return None


def _command(text: str) -> tuple[str, ...]:
    """Return the JSON form as it is, and anything else for the shell."""
    parts = _json_list(text)
    return ("/bin/sh", "-c", text) if parts is None else parts


def _pairs(keyword: str, text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InvalidRequest(f"{keyword} {text}: {error}") from error
    if words and "=" not in words[0]:
        # The old form with one pair and a space.
        name, _, value = text.partition(" ")
        if not value:
            raise InvalidRequest(f"{keyword} must have two arguments")
        return [f"{name}={value.strip()}"]
    if any("=" not in word for word in words):
        raise InvalidRequest(f"Syntax error - can't find = in {text!r}. Must be of the form: name=value")
    return words


def write_layout(directory: Path, manifest: bytes, tag: str) -> None:
    """Write the two files that make a directory with blobs an OCI layout of one image."""
    (directory / "oci-layout").write_bytes(b'{"imageLayoutVersion":"1.0.0"}')
    descriptor = Descriptor(digest_of(manifest), len(manifest), OCI_MANIFEST, {REF_NAME: tag})
    (directory / "index.json").write_bytes(
        msgspec.json.encode({"schemaVersion": 2, "manifests": [descriptor]})
    )

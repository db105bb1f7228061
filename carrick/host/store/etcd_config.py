"""Where an etcd is and how to be let in: the `etcd` table of the configuration, checked once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import msgspec

from ...model.errors import InvalidRequest
from .checks import check_key

DEFAULT_PORT = 2379
_FIELDS = "endpoints, prefix, user, password_file, cacert, cert, key, request_timeout_s"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One member's client address. `str()` is what messages call it."""

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    @property
    def authority(self) -> str:
        return str(self).partition("://")[2]


@dataclass(frozen=True, slots=True)
class EtcdConfig:
    """An etcd cluster as the store uses it.

    Every key of ours begins with `prefix`, so that several clusters can share an etcd. `password_file`
    holds the password of `user`, `cacert`, `cert` and `key` are PEM files; all of them are read again for
    each new connection, so that they can be renewed without a restart.
    """

    endpoints: tuple[Endpoint, ...]
    prefix: str = "carrick/"
    user: str = ""
    password_file: Path | None = None
    cacert: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    request_timeout_s: float = 8.0

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise InvalidRequest("etcd: no endpoint is given", remedy='set endpoints = ["https://host:2379"]')
        if len(set(self.endpoints)) < len(self.endpoints):
            raise InvalidRequest("etcd: an endpoint is given twice")
        if len({endpoint.tls for endpoint in self.endpoints}) > 1:
            raise InvalidRequest("etcd: http:// and https:// endpoints cannot be mixed")
        if not self.prefix.endswith("/"):
            raise InvalidRequest(f"etcd: the prefix ends in a slash, unlike {self.prefix!r}")
        check_key(self.prefix)
        if bool(self.user) != bool(self.password_file):
            raise InvalidRequest("etcd: user and password_file go together")
        if bool(self.cert) != bool(self.key):
            raise InvalidRequest("etcd: cert and key go together")
        if (self.cacert or self.cert) and not self.endpoints[0].tls:
            raise InvalidRequest(
                f"etcd: certificates are given, but {self.endpoints[0]} is not encrypted",
                remedy="write https:// in the endpoints",
            )
        if not 0 < self.request_timeout_s < float("inf"):
            raise InvalidRequest(f"etcd: request_timeout_s must be more than 0, not {self.request_timeout_s}")


class _Table(msgspec.Struct, forbid_unknown_fields=True):
    """The table as it is written."""

    endpoints: list[str]
    prefix: str = "carrick/"
    user: str = ""
    password_file: str = ""
    cacert: str = ""
    cert: str = ""
    key: str = ""
    request_timeout_s: float = 8.0


def parse_etcd_config(table: Mapping[str, Any]) -> EtcdConfig:
    """Parse the `etcd` table of the configuration. Raises InvalidRequest naming the setting.

    Keys may be written with `-`; an endpoint is `https://host:port`, `http://…`, or `host:port` (not
    encrypted).
    """
    found = {key.replace("-", "_"): value for key, value in table.items()}
    try:
        read = msgspec.convert(found, _Table)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"etcd: {error}", remedy=f"the settings are {_FIELDS}") from error
    return EtcdConfig(
        endpoints=tuple(parse_endpoint(text) for text in read.endpoints),
        prefix=read.prefix,
        user=read.user,
        password_file=_path(read.password_file),
        cacert=_path(read.cacert),
        cert=_path(read.cert),
        key=_path(read.key),
        request_timeout_s=read.request_timeout_s,
    )


def parse_endpoint(text: str) -> Endpoint:
    """Parse `https://host:port`. Raises InvalidRequest."""
    remedy = "write https://host:2379"
    try:
        parts: SplitResult = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port or DEFAULT_PORT
    except ValueError as error:
        raise InvalidRequest(f"etcd: the endpoint {text!r} is not a URL: {error}", remedy=remedy) from None
    if parts.username is not None:
        raise InvalidRequest(
            "etcd: an endpoint holds no user and password", remedy="set user and password_file"
        )
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/") or parts.query:
        raise InvalidRequest(
            f"etcd: the endpoint {text!r} is not of the form https://host:port", remedy=remedy
        )
    return Endpoint(parts.hostname, port, tls=parts.scheme == "https")


def _path(text: str) -> Path | None:
    return Path(text) if text else None

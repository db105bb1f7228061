"""A node's files of its membership: one directory, which appears whole or not at all.

A new membership is put together in a directory beside it, which is renamed when all is done: from then on the
node is in the cluster. What a kill leaves of one that was not finished is found by its name.

    ca.pem, ca.key and issued.json (where the authority is), node.pem, node.key, membership.json
    etcd-ca.pem, etcd-client.pem, etcd-client.key, etcd-user, etcd-password: of an etcd that was given
    etcd/: an etcd of our own
"""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ...host.etcd_server import LOOPBACK, EtcdServer
from ...host.peers.certificates import serial_of
from ...host.pki import Identity, fingerprint
from ...host.pki.authority import write_private
from ...host.store.etcd_config import Endpoint, EtcdConfig, parse_endpoint
from ...model.cluster import ClusterSettings
from ...model.errors import Failed, InvalidRequest
from .values import Admitted, InitCluster

_LARGEST_FILE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Kept:
    """What `membership.json` holds. `listen` is the host that the node API listens on, "" for all.

    `left` are clusters of earlier attempts whose record in etcd could not be taken back.
    """

    settings: ClusterSettings
    listen: str = ""
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Issued:
    """A node's certificate; the serial number is in hex."""

    node: str
    serial: str
    ends_ns: int


@dataclass(frozen=True, slots=True)
class Home:
    """The files of one membership, finished or not."""

    path: Path

    @property
    def identity(self) -> Identity:
        return Identity(self.path)

    @property
    def has_authority(self) -> bool:
        return (self.path / "ca.key").exists()

    @property
    def exists(self) -> bool:
        return self.path.is_dir()

    def ca_pem(self) -> bytes:
        return self._read("ca.pem")

    def read(self) -> Kept | None:
        """Return what is kept, None if there is none. Raises Failed if it cannot be read."""
        path = self.path / "membership.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=Kept)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise Failed(
                f"{path} cannot be read: {error}", remedy="restore it, or leave the cluster with --force"
            ) from error

    def write(self, kept: Kept) -> None:
        write_private(self.path / "membership.json", msgspec.json.encode(kept))

    def note_claim(self) -> None:
        """Note that from now on the store may hold our record."""
        write_private(self.path / "claiming", b"")

    def note_claimed(self) -> None:
        (self.path / "claiming").unlink(missing_ok=True)

    @property
    def is_claiming(self) -> bool:
        return (self.path / "claiming").exists()

    # Certificates that were issued here --------------------------------------------------------

    def note_issued(self, node: str, certificate_pem: bytes) -> None:
        """Keep a certificate's serial number, to revoke it by. What has ended goes on the way."""
        serial, ends_ns = serial_of(certificate_pem)
        kept = [item for item in self.issued() if item.ends_ns > time.time_ns()]
        write_private(
            self.path / "issued.json", msgspec.json.encode([*kept, Issued(node, f"{serial:x}", ends_ns)])
        )

    def issued(self) -> list[Issued]:
        """Return the certificates of nodes that were issued here and may still be good."""
        try:
            return msgspec.json.decode((self.path / "issued.json").read_bytes(), type=list[Issued])
        except FileNotFoundError:
            return []
        except (OSError, msgspec.MsgspecError) as error:
            raise Failed(f"{self.path / 'issued.json'} cannot be read: {error}") from error

    # etcd ---------------------------------------------------------------------------------------

    def etcd_server(self, settings: ClusterSettings) -> EtcdServer:
        """Return the etcd of our own, started or not."""
        endpoint = parse_endpoint(settings.endpoints[0])
        return EtcdServer(self.path / "etcd", endpoint.host, self.identity, endpoint.port)

    async def stop_etcd(self) -> None:
        """End the etcd that lives here, if there is one, whatever is known of it."""
        await EtcdServer(self.path / "etcd", LOOPBACK, self.identity).stop()

    def etcd_config(self, settings: ClusterSettings) -> EtcdConfig:
        """Return how the store is reached with what is here."""
        endpoints = tuple(parse_endpoint(text) for text in settings.endpoints)
        if settings.own_etcd:
            # The underlay address may go; this one does not.
            endpoints = (Endpoint(LOOPBACK, endpoints[0].port, tls=True),)
        cert, key = self._optional("etcd-client.pem"), self._optional("etcd-client.key")
        cacert = self._optional("etcd-ca.pem")
        if cacert is not None and cacert.read_bytes() == self.ca_pem():
            # An etcd of the cluster's authority: what lets in is being a node.
            cert, key = self.identity.certificate, self.identity.key
        user = self._optional("etcd-user")
        return EtcdConfig(
            endpoints=endpoints,
            prefix=settings.prefix,
            user=user.read_text() if user else "",
            password_file=self._optional("etcd-password"),
            cacert=cacert,
            cert=cert,
            key=key,
        )

    def take_etcd_files(self, request: InitCluster) -> None:
        """Copy the files that let us into a given etcd. Raises InvalidRequest naming a wrong one."""
        if bool(request.etcd_cert) != bool(request.etcd_key):
            raise InvalidRequest("--etcd-cert and --etcd-key go together")
        if bool(request.etcd_user) != bool(request.etcd_password_file):
            raise InvalidRequest("--etcd-user and --etcd-password-file go together")
        for name, source in (
            ("etcd-ca.pem", request.etcd_cacert),
            ("etcd-client.pem", request.etcd_cert),
            ("etcd-client.key", request.etcd_key),
            ("etcd-password", request.etcd_password_file),
        ):
            if source:
                write_private(self.path / name, _file_of_user(source))
        if request.etcd_cacert:
            fingerprint((self.path / "etcd-ca.pem").read_bytes())
        if request.etcd_user:
            write_private(self.path / "etcd-user", request.etcd_user.encode())

    def use_cluster_authority(self) -> None:
        """Note that etcd's certificate is of the cluster's own authority."""
        write_private(self.path / "etcd-ca.pem", self.ca_pem())

    def take_admitted(self, admitted: Admitted) -> None:
        """Write what a member has sent about etcd; what it did not send, goes."""
        for name, text in (
            ("etcd-ca.pem", admitted.etcd_ca),
            ("etcd-client.pem", admitted.etcd_certificate),
            ("etcd-client.key", admitted.etcd_key),
            ("etcd-user", admitted.etcd_user),
            ("etcd-password", admitted.etcd_password),
        ):
            if text:
                write_private(self.path / name, text.encode())
            else:
                (self.path / name).unlink(missing_ok=True)

    def admitted(self, settings: ClusterSettings, certificate_pem: bytes) -> Admitted:
        """Return what a node is told that is given this certificate."""
        return Admitted(
            cluster=settings.cluster,
            certificate=certificate_pem.decode(),
            ca=self.ca_pem().decode(),
            endpoints=settings.endpoints,
            prefix=settings.prefix,
            etcd_ca=self._text("etcd-ca.pem"),
            etcd_certificate=self._text("etcd-client.pem"),
            etcd_key=self._text("etcd-client.key"),
            etcd_user=self._text("etcd-user"),
            etcd_password=self._text("etcd-password"),
            gone_after_s=settings.gone_after_s,
        )

    # The directory ------------------------------------------------------------------------------

    def make(self) -> None:
        """Make the directory, for root alone and empty."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.mkdir(mode=0o700)

    def become(self, other: "Home") -> "Home":
        """Take the name of `other`, which does not exist: all at once, and kept over a crash."""
        self.path.rename(other.path)
        descriptor = os.open(other.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return other

    def remove(self) -> None:
        """Remove the files; they vanish from their name first. May be repeated."""
        self.sweep()
        if self.path.exists():
            self.path.rename(self._gone)
            self.sweep()

    def sweep(self) -> None:
        """Remove what a kill has left of a removal."""
        shutil.rmtree(self._gone, ignore_errors=True)

    @property
    def _gone(self) -> Path:
        return self.path.with_name(f"{self.path.name}.gone")

    def _optional(self, name: str) -> Path | None:
        path = self.path / name
        return path if path.exists() else None

    def _text(self, name: str) -> str:
        path = self._optional(name)
        return path.read_text() if path else ""

    def _read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise Failed(f"{self.path / name} cannot be read: {error.strerror}") from error


def _file_of_user(source: str) -> bytes:
    path = Path(source)
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise InvalidRequest(f"{path} is too large to be what it should be")
        content = path.read_bytes()
    except OSError as error:
        raise InvalidRequest(
            f"cannot read {path}: {error.strerror}", remedy="give the path of a file that carrickd can read"
        ) from error
    if not content.strip():
        raise InvalidRequest(f"{path} is empty")
    return content

"""A node's identity: its key, its certificate, and TLS made of them. Files, one directory per node.

Peers are known by their certificate's `node:<id>`, never by address: addresses change.
"""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ...model.errors import Failed
from .authority import NODE_LASTS, write_private

_RENEW_BEFORE = NODE_LASTS / 3
_SCHEME = "node:"


def make_request(directory: Path, identity: str) -> bytes:
    """Return a certificate request (PEM) for the node's key in `directory`, made if there is none."""
    path = directory / "node.key"
    if path.exists():
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise Failed(f"{path} is not an elliptic curve key")
    else:
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_private(path, pem)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True, slots=True)
class Identity:
    """The files of a node that is in a cluster: `ca.pem`, `node.pem` and `node.key` in `directory`."""

    directory: Path

    @property
    def ca(self) -> Path:
        return self.directory / "ca.pem"

    @property
    def certificate(self) -> Path:
        return self.directory / "node.pem"

    @property
    def key(self) -> Path:
        return self.directory / "node.key"

    def save(self, certificate_pem: bytes, ca_pem: bytes) -> None:
        write_private(self.ca, ca_pem, mode=0o644)
        write_private(self.certificate, certificate_pem, mode=0o644)

    def ends(self) -> datetime:
        """Return when the certificate ends."""
        return x509.load_pem_x509_certificate(self.certificate.read_bytes()).not_valid_after_utc

    def is_due(self, now: datetime | None = None, before: timedelta = _RENEW_BEFORE) -> bool:
        """Tell whether it is time to have it renewed."""
        return self.ends() - (now or datetime.now(UTC)) < before

    def server_context(self, *, anonymous: bool = False) -> ssl.SSLContext:
        """Return TLS for a server whose clients show certificates; with `anonymous` they may have none."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.certificate, self.key)
        context.load_verify_locations(self.ca)
        context.verify_mode = ssl.CERT_OPTIONAL if anonymous else ssl.CERT_REQUIRED
        return context

    def client_context(self) -> ssl.SSLContext:
        """Return TLS for a client; whom it reached is to be asked with `peer_of`, not by host name."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.load_cert_chain(self.certificate, self.key)
        context.load_verify_locations(self.ca)
        return context


def peer_of(certificate: dict[str, Any] | None) -> str:
    """Return the node id in a verified peer's certificate (as `SSLObject.getpeercert` gives it), or ""."""
    for kind, value in (certificate or {}).get("subjectAltName", ()):
        if kind == "URI" and value.startswith(_SCHEME):
            return str(value.removeprefix(_SCHEME))
    return ""


def pinned_context() -> ssl.SSLContext:
    """Return TLS for the first contact of a joining node: it checks the authority's hash itself.

    Nothing secret may be sent before it has.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context

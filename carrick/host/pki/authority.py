"""The cluster's certificate authority: ECDSA on P-256, its certificates short-lived, its key in one file.

Certificates begin a day early, because nodes' clocks differ; a node whose clock is further off than that is
refused by its peers' TLS. What a node may be called is checked by whoever asks for `issue`.
"""

import hashlib
import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ...model.errors import Failed, InvalidRequest

_EARLY = timedelta(days=1)
_AUTHORITY_LASTS = timedelta(days=3650)
NODE_LASTS = timedelta(days=90)


def fingerprint(certificate_pem: bytes) -> str:
    """Return the SHA-256 of a certificate's public key (SPKI, DER) in hex. Raises InvalidRequest."""
    return _spki_sha256(_load(certificate_pem))


def _load(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise InvalidRequest(f"this is no certificate in PEM form: {error}") from error


def _spki_sha256(certificate: x509.Certificate) -> str:
    spki = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(spki).hexdigest()


class Authority:
    """`certificate_pem` is public; the key never leaves the object but through `save`."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @property
    def certificate_pem(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def sha256(self) -> str:
        """Return the hash that tokens pin."""
        return _spki_sha256(self._certificate)

    @classmethod
    def create(cls, cluster: str, *, now: datetime | None = None) -> "Authority":
        """Make an authority for a cluster, whose id becomes its name."""
        moment = now or datetime.now(UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"carrick cluster {cluster}")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(moment - _EARLY)
            .not_valid_after(moment + _AUTHORITY_LASTS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, directory: Path) -> "Authority":
        """Read `ca.pem` and `ca.key`. Raises Failed, naming the file."""
        try:
            certificate = _load((directory / "ca.pem").read_bytes())
            key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
        except (OSError, ValueError, UnsupportedAlgorithm, InvalidRequest) as error:
            raise Failed(f"the cluster's authority in {directory} cannot be read: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise Failed(f"{directory / 'ca.key'} is not an elliptic curve key")
        return cls(certificate, key)

    def save(self, directory: Path) -> None:
        """Write `ca.pem` and `ca.key`, the key for root alone and before the certificate."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        write_private(directory / "ca.key", pem)
        write_private(directory / "ca.pem", self.certificate_pem, mode=0o644)

    def issue(
        self,
        request_pem: bytes,
        identity: str,
        *,
        addresses: Iterable[str] = (),
        names: Iterable[str] = (),
        lasts: timedelta = NODE_LASTS,
        now: datetime | None = None,
    ) -> bytes:
        """Return a certificate (PEM) for the key in a request; of the request nothing else is believed.

        `identity` becomes its common name and a name of its own (`node:<id>`), by which peers know it. Raises
        InvalidRequest if the request is malformed or its signature wrong.
        """
        try:
            request = x509.load_pem_x509_csr(request_pem)
            if not request.is_signature_valid:
                raise InvalidRequest("the certificate request's signature is wrong")
        except (ValueError, InvalidSignature, UnsupportedAlgorithm) as error:
            raise InvalidRequest(f"this is no certificate request: {error}") from error
        key = request.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise InvalidRequest("a node's key must be an elliptic curve key")
        moment = now or datetime.now(UTC)
        alternatives: list[x509.GeneralName] = [x509.UniformResourceIdentifier(f"node:{identity}")]
        alternatives += [x509.IPAddress(ip_address(address)) for address in addresses]
        alternatives += [x509.DNSName(name) for name in names]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity)]))
            .issuer_name(self._certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(moment - _EARLY)
            .not_valid_after(min(moment + lasts, self._certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)

    def revocation_list(self, serials: Iterable[int], *, now: datetime | None = None) -> bytes:
        """Return a signed list (PEM) of the certificates that are not good any more, by serial number."""
        moment = now or datetime.now(UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(moment - _EARLY)
            .next_update(moment + _AUTHORITY_LASTS)
        )
        for serial in sorted(set(serials)):
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(moment).build()
            builder = builder.add_revoked_certificate(revoked)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def write_private(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Write a file whole or not at all, with its rights from the first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise

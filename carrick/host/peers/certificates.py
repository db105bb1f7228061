"""Look at certificates that others have sent, before anything is built on them."""

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from ...model.errors import Denied, Failed


def check_issued(certificate_pem: bytes, ca_pem: bytes, node: str, key: Path) -> None:
    """Raise Denied unless a certificate is the authority's, for this node and the key in the file."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(ca_pem))
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        private = serialization.load_pem_private_key(key.read_bytes(), None)
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound) as error:
        raise Denied(f"the certificate that was sent is not the authority's: {error}") from error
    if f"node:{node}" not in names.get_values_for_type(x509.UniformResourceIdentifier):
        raise Denied(f"the certificate that was sent is not for node {node}")
    if certificate.public_key() != private.public_key():
        raise Denied("the certificate that was sent is for another key")
    now = datetime.now(UTC)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begins <= now < ends:
        raise Denied(
            f"the certificate that was sent is good from {begins:%Y-%m-%d %H:%M} to {ends:%Y-%m-%d %H:%M}, "
            f"and it is {now:%Y-%m-%d %H:%M} UTC here",
            remedy="set this host's clock",
        )


def serial_of(certificate_pem: bytes) -> tuple[int, int]:
    """Return a certificate's serial number, and when it ends in nanoseconds since the epoch."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    return certificate.serial_number, round(certificate.not_valid_after_utc.timestamp() * 1e9)


def revoked_serials(list_pem: bytes) -> set[int]:
    """Return the serial numbers in a revocation list. Raises Failed."""
    try:
        return {item.serial_number for item in x509.load_pem_x509_crl(list_pem)}
    except (ValueError, TypeError) as error:
        raise Failed(f"the list of revoked certificates cannot be read: {error}") from error

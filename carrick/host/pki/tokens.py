"""Join tokens: `CKJ1-<hash of the authority's key>-<secret>`.

The hash lets a node know the authority before it says the secret; the secret is 160 random bits, and only its
hash is kept anywhere. Pure but for the randomness.
"""

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field

from ...model.errors import InvalidRequest

_PREFIX = "CKJ1"
_FORM = re.compile(rf"{_PREFIX}-([a-z2-7]{{52}})-([a-z2-7]{{32}})\Z")


@dataclass(frozen=True, slots=True)
class JoinToken:
    """`ca_sha256` is the hash of the authority's public key (SPKI, DER), in hex."""

    ca_sha256: str
    secret: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "JoinToken":
        """Raises InvalidRequest; the message never repeats the token."""
        found = _FORM.match(text.strip())
        if found is None:
            raise InvalidRequest(
                f"this is not a join token: one reads {_PREFIX}-…-… and has 90 characters",
                remedy="make one on a member with: carrick cluster token",
            )
        padding = "=" * (-len(found[1]) % 8)
        return cls(base64.b32decode(found[1].upper() + padding).hex(), found[2])

    def render(self) -> str:
        """Return the text that people copy."""
        pin = base64.b32encode(bytes.fromhex(self.ca_sha256)).decode().lower().rstrip("=")
        return f"{_PREFIX}-{pin}-{self.secret}"


def new_token(ca_sha256: str) -> JoinToken:
    return JoinToken(ca_sha256, base64.b32encode(secrets.token_bytes(20)).decode().lower())


def hash_secret(secret: str) -> str:
    """Return what is kept of a secret; with 160 random bits a plain hash is as good as a slow one."""
    return hashlib.sha256(secret.encode()).hexdigest()

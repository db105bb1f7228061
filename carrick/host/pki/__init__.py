"""Keys and certificates of a cluster: its authority, its nodes' identities, and the tokens to join with.

Imported only by what is in a cluster: the library behind it takes 45 ms to import.
"""

from .authority import Authority, fingerprint
from .identity import Identity, make_request
from .tokens import JoinToken, hash_secret, new_token

__all__ = [
    "Authority",
    "Identity",
    "JoinToken",
    "fingerprint",
    "hash_secret",
    "make_request",
    "new_token",
]

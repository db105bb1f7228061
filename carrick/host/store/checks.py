"""What a request to a store must fulfil before any implementation sees it, and prefix ranges. Pure."""

from collections.abc import Sequence

from ...model.errors import InvalidRequest
from .contract import (
    MAX_KEY_BYTES,
    MAX_OPERATIONS,
    MAX_TRANSACTION_BYTES,
    MAX_VALUE_BYTES,
    Change,
    Condition,
    Delete,
    DeletePrefix,
    Put,
    Requirement,
)

_LAST_CODE_POINT = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


def prefix_end(prefix: str) -> str | None:
    """Return the smallest key that sorts after every key starting with `prefix`; None if none does.

    Keys sort by code point, which is also the order of their UTF-8 bytes.
    """
    stem = prefix.rstrip(chr(_LAST_CODE_POINT))
    if not stem:
        return None
    following = ord(stem[-1]) + 1
    if following in _SURROGATES:
        following = _SURROGATES.stop
    return stem[:-1] + chr(following)


def check_key(key: str) -> None:
    """Raise InvalidRequest unless `key` is one that every store can hold."""
    if not key:
        raise InvalidRequest("a key of the store must not be empty")
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise InvalidRequest(f"the key {key!r} is not valid Unicode") from None
    if size > MAX_KEY_BYTES:
        raise InvalidRequest(f"the key {key[:40]!r}… has {size} bytes; at most {MAX_KEY_BYTES} are possible")
    if "\0" in key:
        raise InvalidRequest(f"the key {key!r} contains a NUL character")


def check_prefix(prefix: str) -> None:
    """Raise InvalidRequest unless `prefix` is empty or could itself be a key."""
    if prefix:
        check_key(prefix)


def check_transaction(changes: Sequence[Change], conditions: Sequence[Requirement]) -> None:
    """Raise InvalidRequest if a key is named twice or out of bounds.

    etcd refuses such transactions ("duplicate key given in txn request"); so do we all.
    """
    for number, what in ((len(changes), "changes"), (len(conditions), "conditions")):
        if number > MAX_OPERATIONS:
            raise InvalidRequest(
                f"the transaction has {number} {what}; at most {MAX_OPERATIONS} are possible",
                remedy="make it in several parts",
            )
    named: set[str] = set()
    prefixes: list[str] = []
    total = sum(2 * len(_key_of(condition).encode("utf-8", "replace")) for condition in conditions)
    for change in changes:
        match change:
            case DeletePrefix(prefix):
                check_key(prefix)
                prefixes.append(prefix)
                continue
            case Put(key, value):
                check_key(key)
                if len(value) > MAX_VALUE_BYTES:
                    raise InvalidRequest(
                        f"the value of {key} has {len(value)} bytes; at most {MAX_VALUE_BYTES} are possible"
                    )
                total += len(value)
            case Delete(key):
                check_key(key)
        if key in named:
            raise InvalidRequest(f"the transaction names {key} twice")
        named.add(key)
        total += len(key.encode())
    if total > MAX_TRANSACTION_BYTES:
        raise InvalidRequest(
            f"the transaction has {total} bytes; at most {MAX_TRANSACTION_BYTES} are possible",
            remedy="make it in several parts",
        )
    for prefix in prefixes:
        if twice := next((key for key in named if key.startswith(prefix)), None):
            raise InvalidRequest(f"the transaction names {twice} and deletes all of {prefix}")
    seen: set[str] = set()
    for condition in conditions:
        key = _key_of(condition)
        check_key(key)
        if key in seen:
            raise InvalidRequest(f"the transaction has two conditions on {key}")
        if isinstance(condition, Condition) and condition.revision < 0:
            raise InvalidRequest(f"{key} cannot be at the negative revision {condition.revision}")
        seen.add(key)


def _key_of(condition: Requirement) -> str:
    return condition.key if isinstance(condition, Condition) else condition.prefix

"""JSON for requests and answers, without the `json` package where the interpreter allows it.

Importing `json` costs as much as a third of a short command: it brings regular expressions and
enums along, which only its error texts and its slow half need. The fast half is CPython's `_json`,
and this uses it directly. Whatever `_json` does not do, or does not take, goes to `json`: another
interpreter, a text that is wrong and needs its error said.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class _Rules:
    """What `json.loads` sets for the scanner, by the names that it looks up."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float  # NaN, Infinity and -Infinity, which `json` takes as well


def _fast_scan() -> Callable[[str, int], tuple[Any, int]] | None:
    try:
        from _json import make_scanner

        return make_scanner(_Rules)  # type: ignore[arg-type]
    except (ImportError, TypeError, AttributeError):
        return None


def decode(data: bytes) -> Any:
    """Return the value of a JSON text. Raises ValueError."""
    if (scan := _fast_scan()) is not None:
        try:
            text = data.decode().strip(" \t\r\n")
            value, end = scan(text, 0)
            if end == len(text):
                return value
        except (ValueError, StopIteration, RecursionError):
            pass  # said below, in full
    import json

    return json.loads(data)


def encode(value: object) -> str:
    """Return `value` as JSON on one line, without spaces, in ASCII."""
    try:
        from _json import encode_basestring_ascii, make_encoder

        # As json.JSONEncoder calls it: markers, default, encoder, indent, separators, three switches.
        dump = make_encoder(None, _refuse, encode_basestring_ascii, None, ":", ",", False, False, True)
        return "".join(dump(value, 0))
    except (ImportError, TypeError, AttributeError):
        import json

        return json.dumps(value, separators=(",", ":"))


def quote_text(text: str) -> str:
    """Return `text` as a JSON string that keeps its characters (not only ASCII)."""
    try:
        from _json import encode_basestring

        return encode_basestring(text)
    except ImportError:
        import json

        return json.dumps(text, ensure_ascii=False)


def _refuse(value: object) -> object:
    raise TypeError(f"{type(value).__name__} is not for JSON")

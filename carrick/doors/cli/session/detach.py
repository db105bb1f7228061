"""The keys that leave a container running behind: `ctrl-p,ctrl-q` unless said otherwise. Pure."""

DEFAULT_KEYS = "ctrl-p,ctrl-q"

_SPECIAL = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def parse_keys(text: str) -> bytes:
    """Return the bytes of `a,ctrl-b,ctrl-\\`. Raises ValueError."""
    codes = bytearray()
    for key in (text or DEFAULT_KEYS).split(","):
        if len(key) == 1 and key.isascii():
            codes.append(ord(key))
            continue
        control = key.lower().removeprefix("ctrl-")
        if len(control) == 1 and len(key) > 1:
            if "a" <= control <= "z":
                codes.append(ord(control) - ord("a") + 1)
                continue
            if control in _SPECIAL:
                codes.append(_SPECIAL[control])
                continue
        raise ValueError(
            f"invalid detach keys ({text}): unknown key '{key}';"
            " use a letter, or ctrl- and one of a-z @ [ \\ ] ^ _, separated by commas"
        )
    return bytes(codes)


class DetachFilter:
    """Let input through, and notice the keys. What might become them is held back."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0
        self.detached = False

    def feed(self, data: bytes) -> bytes:
        """Return what is to be sent; once `detached` is set, there is no more."""
        out = bytearray()
        for byte in data:
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    self.detached = True
                    break
                continue
            held = self._keys[: self._matched] + bytes((byte,))
            # The longest end of what came that may still become the keys stays held back.
            keep = next(
                size
                for size in range(min(len(held), len(self._keys) - 1), -1, -1)
                if held.endswith(self._keys[:size])
            )
            out += held[: len(held) - keep]
            self._matched = keep
        return bytes(out)

"""`--env`, `--env-file`, `--label`, `--label-file`: pairs and the files that hold them."""

from __future__ import annotations

from carrick.doors.cli.flags import Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def _check_env(text: str) -> str:
    if not text.partition("=")[0]:
        raise ValueError(f"invalid environment variable: {text}")
    return text


def _check_label(text: str) -> str:
    if not text.partition("=")[0]:
        raise ValueError(f"invalid label '{text}': empty name")
    return text


def _check_address(text: str) -> str:
    from ipaddress import ip_address

    try:
        ip_address(text.strip())
    except ValueError:
        raise ValueError(f"IP address is not correctly formatted: {text}") from None
    return text.strip()


def parse_extra_host(text: str) -> str:
    """Return `name:address` or `name=address`, brackets off, as the API has it.

    Raises ValueError. `host-gateway` stands for the host's address, which the daemon knows.
    """
    separator = "=" if "=" in text else ":"
    name, found, address = text.partition(separator)
    if not found or not name:
        raise ValueError(f'bad format for add-host: "{text}"')
    if address == "host-gateway":
        return f"{name}:{address}"
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    from ipaddress import ip_address

    try:
        ip_address(address)
    except ValueError:
        raise ValueError(f'invalid IP address in add-host: "{address}"') from None
    return f"{name}:{address}"


def _check_link(text: str) -> str:
    if not text:
        raise ValueError("empty string specified for links")
    if text.count(":") > 1:
        raise ValueError(f"bad format for links: {text}")
    return text


def _check_stream(text: str) -> str:
    lowered = text.lower()
    if lowered not in ("stdin", "stdout", "stderr"):
        raise ValueError("valid streams are STDIN, STDOUT and STDERR")
    return lowered


ENV = Kind("list", _check_env, many=True)
LABEL = Kind("list", _check_label, many=True)
ADDRESS = Kind("list", _check_address, many=True)
EXTRA_HOST = Kind("list", parse_extra_host, many=True)
LINK = Kind("list", _check_link, many=True)
STREAM = Kind("list", _check_stream, many=True)


def parse_pairs_file(path: str, content: bytes, environ: Mapping[str, str] | None) -> list[str]:
    """Return the lines of an env file (or, with `environ` None, of a label file). ValueError.

    A variable without a value takes the one it has in `environ`, or is left out.
    """
    kind = "env" if environ is not None else "label"
    pairs: list[str] = []
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        try:
            line = raw.decode().lstrip()
        except UnicodeDecodeError:
            raise ValueError(f"invalid {kind} file ({path}): invalid utf8 bytes at line {number}") from None
        if not line or line.startswith("#"):
            continue
        name, separator, _ = line.partition("=")
        if not name.strip():
            raise ValueError(f"invalid {kind} file ({path}): no variable name on line '{line}'")
        if environ is not None and any(character.isspace() for character in name):
            raise ValueError(f"invalid {kind} file ({path}): variable '{name}' contains whitespaces")
        if separator or environ is None:
            pairs.append(line)
        elif name in environ:
            pairs.append(f"{name}={environ[name]}")
    return pairs


def fill_in(pairs: Iterable[str], environ: Mapping[str, str]) -> list[str]:
    """Return `--env` values; one without `=` takes its value from `environ`, if it has one there."""
    return [f"{pair}={environ[pair]}" if "=" not in pair and pair in environ else pair for pair in pairs]


def to_map(pairs: Iterable[str]) -> dict[str, str]:
    """Return `key=value` texts as a map; a lone key has an empty value."""
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}

"""How a registry asks who we are, and what it is answered (distribution-spec 1.0, its token documents).

Pure: a challenge is parsed, a token request rendered, its answer read. `registry` does the talking.
"""

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlencode

import msgspec

from .image_store import RegistryAuth

CLIENT_ID = "carrick"
_SCHEME = re.compile(r"\s*([A-Za-z]+)(?:\s+(.*))?", re.DOTALL)
_PARAMETER = re.compile(r'([A-Za-z0-9_-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
_LAST_WORD = re.compile(r",\s*(?=(?:Basic|Bearer|Negotiate|Digest)\b)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to log in that a WWW-Authenticate header offers. `scheme` is in small letters."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """Read WWW-Authenticate headers (RFC 9110, section 11.6.1): those schemes that we know."""
    found = []
    for header in headers:
        for part in _LAST_WORD.split(header):
            match = _SCHEME.match(part)
            if match is None or match[1].lower() not in ("basic", "bearer"):
                continue
            parameters = {
                name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain
                for name, quoted, plain in _PARAMETER.findall(match[2] or "")
            }
            found.append(
                Challenge(
                    match[1].lower(),
                    parameters.get("realm", ""),
                    parameters.get("service", ""),
                    parameters.get("scope", ""),
                )
            )
    return tuple(found)


def basic(auth: RegistryAuth) -> str:
    """Return the Authorization header of a name and password."""
    pair = f"{auth.username}:{auth.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


@dataclass(frozen=True, slots=True, repr=False)
class TokenRequest:
    """What to ask a token server. With a `form` it is a POST. Never printed: it holds secrets."""

    url: str
    form: dict[str, str] | None = None
    authorization: str = ""


def token_request(
    challenge: Challenge, auth: RegistryAuth, scopes: Iterable[str], *, for_login: bool = False
) -> TokenRequest:
    """Return how to ask for a token. `for_login` asks for an identity token besides."""
    wanted = tuple(scopes)
    if auth.identity_token:
        form = {
            "grant_type": "refresh_token",
            "service": challenge.service,
            "client_id": CLIENT_ID,
            "refresh_token": auth.identity_token,
        }
        if wanted:
            form["scope"] = " ".join(wanted)
        return TokenRequest(challenge.realm, form)
    query = [("service", challenge.service)] if challenge.service else []
    query += [("scope", scope) for scope in wanted]
    if auth.username:
        query.append(("account", auth.username))
    if for_login:
        query += [("client_id", CLIENT_ID), ("offline_token", "true")]
    mark = "&" if "?" in challenge.realm else "?"
    url = f"{challenge.realm}{mark}{urlencode(query)}" if query else challenge.realm
    return TokenRequest(url, authorization=basic(auth) if auth.username else "")


class Tokens(msgspec.Struct):
    """A token server's answer; which of the first two names is used differs among them."""

    token: str = ""
    access_token: str = ""
    refresh_token: str = ""

    @property
    def bearer(self) -> str:
        return self.token or self.access_token


def parse_tokens(text: bytes) -> Tokens | None:
    """Read a token server's answer; None for what is none."""
    try:
        tokens = msgspec.json.decode(text, type=Tokens)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return tokens if tokens.bearer else None

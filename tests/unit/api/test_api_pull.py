"""A pull and a push end with the client that asked for them, also while there is nothing to tell it."""

import asyncio
from typing import Any

import pytest

from carrick.doors.api.handlers.images import join_reference, names_repository, parse_auth
from carrick.host.runtime.image_store import Progress, RegistryAuth


@pytest.mark.parametrize("request_line", ["/images/create?fromImage=x&tag=1", "/images/x/push?tag=1"])
@pytest.mark.parametrize("says_something", [True, False])
async def test_a_client_that_vanishes(
    api: Any, monkeypatch: pytest.MonkeyPatch, request_line: str, says_something: bool
) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(reference: str, progress: Any, **_: Any) -> None:
        if says_something:
            progress(Progress("Pulling fs layer", id="0123456789ab"))
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    monkeypatch.setattr(api.engine.images, "pull", hang)
    monkeypatch.setattr(api.engine.images, "push", hang)
    _, writer = await asyncio.open_unix_connection(str(api.path))
    writer.write(f"POST {request_line} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
    async with asyncio.timeout(30):
        await begun.wait()
        writer.close()
        await writer.wait_closed()
        await cancelled.wait()


@pytest.mark.parametrize(
    ("name", "tag", "joined", "is_repository"),
    [
        ("a", "", "a", True),
        ("h:5000/a", "", "h:5000/a", True),
        ("h:5000/a", "1", "h:5000/a:1", False),
        ("h:5000/a:1", "", "h:5000/a:1", False),
        ("a", "sha256:" + "0" * 64, "a@sha256:" + "0" * 64, False),
    ],
)
def test_names_with_and_without_a_tag(name: str, tag: str, joined: str, is_repository: bool) -> None:
    assert join_reference(name, tag) == joined
    assert names_repository(joined) is is_repository


@pytest.mark.parametrize(
    ("header", "auth"),
    [
        ("", None),
        ("!!!", None),
        ("e30=", None),
        ("W10=", None),
        ("eyJ1c2VybmFtZSI6ImEiLCJwYXNzd29yZCI6ImIifQ", RegistryAuth("a", "b")),
        ("eyJhdXRoIjoiWVRwaU9tTT0ifQ==", RegistryAuth("a", "b:c")),
        ("eyJyZWdpc3RyeXRva2VuIjoidCJ9", RegistryAuth(registry_token="t")),
    ],
)
def test_credentials_in_the_header(header: str, auth: RegistryAuth | None) -> None:
    assert parse_auth(header) == auth

"""Login, logout, push, search, and where credentials are kept."""

import base64
import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import Result, Runner
from fake_daemon import Reply

from carrick.doors.client.credentials import HUB, CredentialFile, Credentials, server_key
from carrick.model.errors import Failed

SERVER = "reg.example:5000"
HELPER = """#!/usr/bin/env python3
import json, pathlib, sys
kept = pathlib.Path(__file__).with_suffix(".json")
known = json.loads(kept.read_text()) if kept.exists() else {}
text = sys.stdin.read()
assert len(sys.argv) == 2, "a secret on the command line?"
if sys.argv[1] == "store":
    entry = json.loads(text)
    known[entry["ServerURL"]] = entry
elif text not in known:
    print("credentials not found in native keychain")
    sys.exit(1)
elif sys.argv[1] == "get":
    print(json.dumps(known[text]))
else:
    del known[text]
kept.write_text(json.dumps(known))
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "docker" / "config.json"


@pytest.fixture
def store(config: Path) -> CredentialFile:
    return CredentialFile({"DOCKER_CONFIG": str(config.parent)})


def write(config: Path, document: Mapping[str, Any]) -> None:
    config.parent.mkdir(exist_ok=True)
    config.write_text(json.dumps(document))


def auth_in(headers: Mapping[str, str]) -> Any:
    found = {key.lower(): value for key, value in headers.items()}
    return json.loads(base64.urlsafe_b64decode(found["x-registry-auth"]))


# --- the file


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("", HUB),
        ("docker.io", HUB),
        ("https://index.docker.io/v1/", HUB),
        ("https://reg.example:5000/v2/", SERVER),
        (SERVER, SERVER),
    ],
)
def test_names_of_registries(host: str, key: str) -> None:
    assert server_key(host) == key


def test_the_file(config: Path, store: CredentialFile) -> None:
    assert store.load(SERVER) is None
    assert not store.erase(SERVER)
    assert not config.exists()
    write(config, {"psFormat": "x", "auths": {"https://other/v1/": {"auth": "YTpi"}}})
    assert store.store(Credentials(SERVER, "me", "pass:word")) == str(config)
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    document = json.loads(config.read_text())
    assert document["psFormat"] == "x"
    assert base64.b64decode(document["auths"][SERVER]["auth"]) == b"me:pass:word"
    found = store.load(SERVER)
    assert found is not None
    assert found.document() == {"username": "me", "password": "pass:word", "serveraddress": SERVER}
    other = store.load("other")
    assert other is not None and (other.username, other.password) == ("a", "b")
    assert store.erase(SERVER) and store.load(SERVER) is None
    assert list(json.loads(config.read_text())["auths"]) == ["https://other/v1/"]
    assert [path.name for path in config.parent.iterdir()] == ["config.json"]


def test_an_identity_token_takes_the_place_of_the_password(config: Path, store: CredentialFile) -> None:
    store.store(Credentials(SERVER, "me", "", "token"))
    entry = json.loads(config.read_text())["auths"][SERVER]
    assert entry == {"auth": base64.b64encode(b"me:").decode(), "identitytoken": "token"}
    found = store.load(SERVER)
    assert found is not None
    assert found.document() == {"identitytoken": "token", "serveraddress": SERVER}


def test_a_link_stays_one(config: Path, store: CredentialFile, tmp_path: Path) -> None:
    config.parent.mkdir()
    config.symlink_to(tmp_path / "elsewhere.json")
    store.store(Credentials(SERVER, "me", "it"))
    assert config.is_symlink() and (tmp_path / "elsewhere.json").exists()


@pytest.mark.parametrize("text", ["{", "[]", "7"])
def test_a_broken_file_is_left_alone(config: Path, store: CredentialFile, text: str) -> None:
    config.parent.mkdir()
    config.write_text(text)
    with pytest.raises(Failed, match=r"config\.json"):
        store.store(Credentials(SERVER, "me", "it"))
    assert config.read_text() == text


def test_helpers(config: Path, tmp_path: Path) -> None:
    helper = tmp_path / "docker-credential-test"
    helper.write_text(HELPER)
    helper.chmod(0o755)
    write(config, {"credHelpers": {SERVER: "test"}, "credsStore": "missing"})
    environ = {"DOCKER_CONFIG": str(config.parent), "PATH": f"{tmp_path}:/usr/bin:/bin:/usr/local/bin"}
    store = CredentialFile(environ)
    assert store.load(SERVER) is None
    assert store.store(Credentials(SERVER, "me", "it")) == ""
    assert "auths" not in json.loads(config.read_text())
    found = store.load(SERVER)
    assert found is not None and (found.username, found.password) == ("me", "it")
    store.store(Credentials(SERVER, "me", "", "token"))
    found = store.load(SERVER)
    assert found is not None and found.identity_token == "token"
    assert store.erase(SERVER) and not store.erase(SERVER)
    with pytest.raises(Failed, match="docker-credential-missing: no such file"):
        store.load("other")


# --- the commands


def environ_of(config: Path) -> dict[str, str]:
    return {"DOCKER_CONFIG": str(config.parent)}


def login(cli: Runner, config: Path, *words: str, stdin: bytes = b"it\n") -> Result:
    return cli("login", *words, stdin=stdin, environ=environ_of(config))


def test_login_and_logout(cli: Runner, config: Path) -> None:
    cli.daemon.on("POST /auth", {"Status": "Login Succeeded", "IdentityToken": ""})
    result = login(cli, config, "-u", "me", "--password-stdin", SERVER)
    assert (result.code, result.out) == (0, "Login Succeeded\n")
    assert f"stored unencrypted in '{config}'" in result.err
    sent = cli.daemon.requests[-1].json
    assert sent == {"username": "me", "password": "it", "serveraddress": SERVER}
    result = login(cli, config, SERVER)
    assert result.out.splitlines() == [
        "Authenticating with existing credentials... [Username: me]",
        "Login Succeeded",
    ]
    result = cli("logout", SERVER, environ=environ_of(config))
    assert result.out == f"Removing login credentials for {SERVER}\n"
    result = cli("logout", SERVER, environ=environ_of(config))
    assert result.out.endswith(f"Not logged in to {SERVER}\n")


def test_a_login_that_is_refused_is_not_kept(cli: Runner, config: Path) -> None:
    cli.daemon.on(
        "POST /auth", Reply(401, {"message": "login attempt to x failed with status: 401 Unauthorized"})
    )
    result = login(cli, config, "-u", "me", "--password-stdin", SERVER)
    assert result.code == 1
    assert "failed with status: 401 Unauthorized" in result.err
    assert not config.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--password-stdin"], "the --password-stdin option requires --username to be set"),
        (["-u", "a", "-p", "b", "--password-stdin"], "conflicting options: cannot specify both"),
        (["-u", "a"], "Cannot perform an interactive login from a non TTY device"),
        ([], "Cannot perform an interactive login from a non TTY device"),
    ],
)
def test_logins_that_cannot_be(cli: Runner, config: Path, words: list[str], message: str) -> None:
    result = login(cli, config, *words)
    assert result.code == 1 and message in result.err


def test_credentials_go_along(cli: Runner, config: Path) -> None:
    entry = {"auth": base64.b64encode(b"me:it").decode()}
    write(config, {"auths": {SERVER: entry}})
    lines = b'{"status":"x"}\n{"progressDetail":{},"aux":{"Tag":"1","Digest":"d","Size":1}}\n'
    cli.daemon.on("POST /images/create", Reply(200, body=lines))
    cli.daemon.on(f"POST /images/{SERVER}/web/push", Reply(200, body=lines))
    cli.daemon.on("GET /images/search", [])
    environ = environ_of(config)
    expected = {"username": "me", "password": "it", "serveraddress": SERVER}
    for words in (["pull", f"{SERVER}/web:1"], ["push", f"{SERVER}/web:1"], ["search", f"{SERVER}/web"]):
        result = cli(*words, environ=environ)
        assert result.code == 0, result.err
        assert auth_in(cli.daemon.requests[-1].headers) == expected
    assert cli("pull", "other.example/x", environ=environ).code == 0
    assert "x-registry-auth" not in {key.lower() for key in cli.daemon.requests[-1].headers}


def test_search(cli: Runner, config: Path) -> None:
    entry = {"name": "busybox", "description": "Small\nbox " * 20, "star_count": 3, "is_official": True}
    cli.daemon.on("GET /images/search", [entry, {"name": "a/b"}])
    result = cli("search", "--limit", "5", "-f", "stars=3", "box", environ=environ_of(config))
    lines = result.out.splitlines()
    assert lines[0].split() == ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]
    assert lines[1].startswith("busybox   Small box Small box") and lines[1].endswith("3         [OK]")
    assert "limit=5" in cli.daemon.requests[-1].target

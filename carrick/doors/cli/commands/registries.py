"""Registries: login, logout, search."""

from __future__ import annotations

from carrick.doors.cli.app import App, is_terminal
from carrick.doors.cli.command import Arity, Command
from carrick.doors.cli.errors import CliError
from carrick.doors.cli.flags import FILTER, INT, STRING, Flag, Values
from carrick.doors.cli.listing import FORMAT, NO_TRUNC, show_records
from carrick.doors.cli.records.search import SearchRecord
from carrick.doors.client.credentials import HUB, CredentialFile, Credentials, server_key
from carrick.doors.client.errors import ApiError

_COLUMNS = ("Name", "Description", "StarCount", "IsOfficial")


def _login(app: App, values: Values, words: list[str]) -> None:
    server = server_key(words[0] if words else "")
    store = CredentialFile(app.environ)
    username = values.text("username")
    password = _given_password(app, values, username)
    if not username and not password and (known := store.load(server)) is not None:
        app.print(f"Authenticating with existing credentials... [Username: {known.username}]")
        try:
            _check(app, store, known)
            return
        except ApiError as error:
            app.warn(f"Login did not succeed, error: {error.message}")
            username = ""
    if not username:
        username = _ask_line(app, "Username: ")
    if not password:
        password = _ask_secret(app, "Password: ")
    if not username:
        raise CliError("username is empty")
    if not password:
        raise CliError("password is empty")
    _check(app, store, Credentials(server, username, password))


def _given_password(app: App, values: Values, username: str) -> str:
    password = values.text("password")
    if values.on("password-stdin"):
        if password:
            raise CliError("conflicting options: cannot specify both --password and --password-stdin")
        if not username:
            raise CliError("the --password-stdin option requires --username to be set")
        return app.raw_in().read().decode(errors="surrogateescape").rstrip("\r\n")
    if password:
        app.warn("WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
    return password


def _check(app: App, store: CredentialFile, credentials: Credentials) -> None:
    """Have the daemon try the credentials, and keep them if they are good."""
    answer = app.client.post("/auth", credentials.document()) or {}
    if token := str(answer.get("IdentityToken") or ""):
        credentials.identity_token, credentials.password = token, ""
    if path := store.store(credentials):
        app.warn(f"WARNING! Your credentials are stored unencrypted in '{path}'.")
        app.warn("Configure a credential helper to remove this warning. See")
        app.warn("https://docs.docker.com/go/credential-store/\n")
    app.print(str(answer.get("Status") or "Login Succeeded"))


def _ask_line(app: App, prompt: str) -> str:
    _require_terminal(app)
    app.out.write(prompt)
    app.out.flush()
    return app.stdin.readline().strip()


def _ask_secret(app: App, prompt: str) -> str:
    """Ask with the echo off, also when we are interrupted meanwhile."""
    import termios

    _require_terminal(app)
    descriptor = app.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    quiet = [*before]
    quiet[3] = int(before[3]) & ~termios.ECHO
    app.out.write(prompt)
    app.out.flush()
    try:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, quiet)
        return app.stdin.readline().rstrip("\r\n")
    finally:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)
        app.print("")


def _require_terminal(app: App) -> None:
    if not is_terminal(app.stdin):
        raise CliError("Error: Cannot perform an interactive login from a non TTY device")


def _logout(app: App, values: Values, words: list[str]) -> None:
    server = server_key(words[0] if words else "")
    shown = "" if server == HUB and not words else server
    store = CredentialFile(app.environ)
    app.print(f"Removing login credentials for {shown or server}")
    if not store.erase(server):
        app.print(f"Not logged in to {shown or server}")


def _search(app: App, values: Values, words: list[str]) -> None:
    term = words[0]
    first, slash, _ = term.partition("/")
    host = first if slash and ("." in first or ":" in first or first == "localhost") else ""
    query = {
        "term": term,
        "limit": values.number("limit") or None,
        "filters": values.filters() or None,
    }
    with app.client.request(
        "GET", "/images/search", query=query, headers=auth_headers(app, host)
    ) as response:
        found = response.json() or []
    records = [SearchRecord(entry, truncate=not values.on("no-trunc")) for entry in found]
    show_records(app, SearchRecord, records, values.text("format"), columns=_COLUMNS)


def auth_headers(app: App, host: str) -> dict[str, str]:
    """Return the header with the credentials for a registry, or none if there are none."""
    credentials = CredentialFile(app.environ).load(server_key(host))
    return {} if credentials is None else {"X-Registry-Auth": credentials.header()}


LOGIN = Command(
    "login",
    _login,
    summary="Authenticate to a registry",
    usage="[OPTIONS] [SERVER]",
    arity=Arity(0, 1),
    flags=(
        Flag("password", "Password or Personal Access Token (PAT)", kind=STRING, short="p"),
        Flag("password-stdin", "Take the Password or Personal Access Token (PAT) from stdin"),
        Flag("username", "Username", kind=STRING, short="u"),
    ),
    examples=(
        "carrick login registry.example:5000",
        "carrick login -u ci --password-stdin registry.example:5000 <token",
    ),
)
LOGOUT = Command(
    "logout",
    _logout,
    summary="Log out from a registry",
    usage="[SERVER]",
    arity=Arity(0, 1),
    examples=("carrick logout registry.example:5000",),
)
SEARCH = Command(
    "search",
    _search,
    summary="Search a registry for images",
    usage="[OPTIONS] TERM",
    arity=Arity(1, 1),
    flags=(
        Flag("filter", "Filter output based on conditions provided", kind=FILTER, short="f"),
        FORMAT,
        Flag("limit", "Max number of search results", kind=INT),
        NO_TRUNC,
    ),
    examples=("carrick search --filter is-official=true busybox",),
)

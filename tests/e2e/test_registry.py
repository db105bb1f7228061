"""Images to and from a real registry (`docker-registry`): plain, with passwords, with TLS.

With `carrick`, and with Docker's own client where it is installed.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from carrick.testing.certificates import Authority
from carrick.testing.daemon import HOST4, Daemon, Reply, eventually

# user:secret, made with `htpasswd -nbB -C 5`.
_HTPASSWD = "user:$2b$05$tg8iNojesxyCPXh1WCfxDeL5gs.zxmBYEswoqfhD98E3wuq9HETtO\n"
PLAIN, GUARDED, SECURE = "127.0.0.1:5000", "127.0.0.1:5001", f"{HOST4}:5002"
needs_registry = pytest.mark.skipif(shutil.which("docker-registry") is None, reason="needs docker-registry")
pytestmark = needs_registry


class Registry:
    """One docker-registry on a daemon's machine."""

    def __init__(self, daemon: Daemon, host: str, extra: str = "", http: str = "") -> None:
        self._daemon = daemon
        self.host = host
        directory = daemon.directory / f"registry-{host.replace(':', '-')}"
        directory.mkdir()
        self._settings = directory / "config.yml"
        self._settings.write_text(
            f"version: 0.1\nlog: {{level: error}}\n{extra}\n"
            f"storage: {{filesystem: {{rootdirectory: {directory}}}}}\n"
            f"http: {{addr: '{host}'{http}}}\n"
        )
        self._log = directory / "log"
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._daemon.machine.command("docker-registry", "serve", str(self._settings)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        url = f"http{'s' if 'tls' in self._settings.read_text() else ''}://{self.host}/"
        run = self._daemon.machine.run
        try:
            eventually(lambda: run("curl", "-sk", "-o", "/dev/null", "-m", "5", url).code == 0, 30)
        except BaseException:
            self.close()
            raise

    def signal(self, number: int) -> None:
        """Send a signal to the registry (its own process: nsenter's child)."""
        parent = f"/proc/{self._process.pid}/task/{self._process.pid}/children"
        pids = Path(parent).read_text().split() or [str(self._process.pid)]
        for pid in pids:
            os.kill(int(pid), number)
        if number != signal.SIGSTOP:
            # nsenter stops itself when its child is stopped, and must be woken on its own.
            os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._process.wait(30)

    def close(self) -> None:
        with suppress(ProcessLookupError, FileNotFoundError):
            self.signal(signal.SIGKILL)
        self._process.wait(30)


@pytest.fixture(scope="module")
def host(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    certificates = tmp_path_factory.mktemp("certs.d")
    configuration = f'registry-certificates = "{certificates}"\n'
    with Daemon(images=images, outside=True, configuration=configuration) as daemon:
        (daemon.directory / "htpasswd").write_text(_HTPASSWD)
        yield daemon
        assert not daemon.tracebacks()


@pytest.fixture(scope="module")
def plain(host: Daemon) -> Iterator[Registry]:
    registry = Registry(host, PLAIN)
    yield registry
    registry.close()


@pytest.fixture(scope="module")
def guarded(host: Daemon) -> Iterator[Registry]:
    auth = f"auth: {{htpasswd: {{realm: test, path: {host.directory}/htpasswd}}}}"
    registry = Registry(host, GUARDED, auth)
    yield registry
    registry.close()


@pytest.fixture(
    params=["carrick", "/usr/local/bin/docker", "/usr/bin/docker"], ids=["carrick", "docker", "docker20"]
)
def client(request: pytest.FixtureRequest, daemon: Daemon, tmp_path: Path) -> "Client":
    program = str(request.param)
    if program != "carrick" and not Path(program).exists():
        pytest.skip(f"{program} is not installed")
    return Client(daemon, program, tmp_path)


class Client:
    """`carrick` or `docker`, with a configuration directory of its own."""

    def __init__(self, daemon: Daemon, program: str, directory: Path) -> None:
        self.config = directory / "config.json"
        self._argv = [sys.executable, "-m", "carrick"] if program == "carrick" else [program]
        self._environment = {**os.environ, **daemon.environment, "DOCKER_CONFIG": str(directory)}

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*self._argv, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self._environment,
        )

    def run(self, *arguments: str, input: str | None = None) -> tuple[int, str]:
        """Return the exit code and all that was printed."""
        done = subprocess.run(
            [*self._argv, *arguments],
            input=input,
            stdin=None if input is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
            env=self._environment,
        )
        return done.returncode, done.stdout

    def do(self, *arguments: str, input: str | None = None) -> str:
        code, text = self.run(*arguments, input=input)
        assert code == 0, f"{arguments}: {text}"
        return text

    def refused(self, *arguments: str, input: str | None = None) -> str:
        code, text = self.run(*arguments, input=input)
        assert code != 0, f"{arguments}: {text}"
        return text


def lines(reply: Reply) -> list[dict[str, object]]:
    """Return a stream's lines."""
    return [json.loads(line) for line in reply.body.splitlines()]


def forget(daemon: Daemon, *names: str) -> None:
    for name in names:
        daemon.api.delete(f"/images/{name}?force=1")


def test_there_and_back(daemon: Daemon, plain: Registry, client: Client) -> None:
    name = f"{PLAIN}/team/box"
    client.do("tag", "busybox", f"{name}:1")
    text = client.do("push", f"{name}:1")
    assert f"The push refers to repository [{name}]" in text
    assert ": Pushed" in text or ": Layer already exists" in text
    digest = text.split("digest: ")[1].split()[0]
    assert digest.startswith("sha256:")
    text = client.do("push", f"{name}:1")
    assert ": Layer already exists" in text
    assert f"1: digest: {digest} size: " in text
    assert daemon.api.get(f"/images/{name}:1/json").json["RepoDigests"] == [f"{name}@{digest}"]

    client.do("tag", f"{name}:1", f"{name}:2")
    text = client.do("push", "--all-tags", name)
    assert f"1: digest: {digest}" in text and f"2: digest: {digest}" in text
    forget(daemon, f"{name}:1", f"{name}:2")
    text = client.do("pull", "--all-tags", name)
    assert "1: Pulling from team/box" in text and "2: Pulling from team/box" in text
    assert f"Status: Downloaded newer image for {name}" in text
    text = client.do("pull", f"{name}@{digest}")
    assert f"Status: Image is up to date for {name}@{digest}" in text
    assert client.do("pull", "-q", f"{name}:1").strip() == f"{name}:1"
    assert "An image does not exist locally with the tag: nowhere" in client.refused("push", "nowhere:1")
    assert f"tag does not exist: {name}:3" in client.refused("push", f"{name}:3")
    message = f"manifest for {name}:4 not found: manifest unknown: manifest unknown"
    assert message in client.refused("pull", f"{name}:4")
    forget(daemon, f"{name}:1", f"{name}:2")


def test_another_daemon_gets_the_same_image(
    daemon: Daemon, plain: Registry, busybox_tar: Path, client: Client
) -> None:
    """Pull what is not here, with Docker's progress, and run it."""
    name = f"{PLAIN}/fresh:latest"
    image_id = client.do("import", str(busybox_tar), name).strip()
    client.do("push", name)
    forget(daemon, name)
    assert daemon.api.get(f"/images/{image_id}/json").status == 404
    reply = daemon.api.post(f"/images/create?fromImage={PLAIN}/fresh&tag=latest")
    told = lines(reply)
    assert told[0] == {"status": "Pulling from fresh", "id": "latest"}
    statuses = list(dict.fromkeys(str(line["status"]) for line in told if line.get("id") != "latest"))
    assert statuses[:-2] == [
        "Pulling fs layer",
        "Downloading",
        "Verifying Checksum",
        "Download complete",
        "Extracting",
        "Pull complete",
    ]
    loaded = [line for line in told if line["status"] == "Downloading"][-1]
    detail = loaded["progressDetail"]
    assert isinstance(detail, dict) and detail["current"] == detail["total"] > 100_000
    assert statuses[-1] == f"Status: Downloaded newer image for {name}"
    assert client.do("run", "--rm", name, "echo", "it runs").strip() == "it runs"
    forget(daemon, name)


def test_passwords(daemon: Daemon, guarded: Registry, client: Client) -> None:
    name = f"{GUARDED}/box"
    client.do("tag", "busybox", name)
    assert "no basic auth credentials" in client.refused("push", name)
    wrong = client.refused("login", "-u", "user", "--password-stdin", GUARDED, input="hunter2")
    assert f"login attempt to http://{GUARDED}/v2/ failed with status: 401 Unauthorized" in wrong
    assert not client.config.exists() or GUARDED not in client.config.read_text()
    text = client.do("login", "-u", "user", "--password-stdin", GUARDED, input="secret\n")
    assert "Login Succeeded" in text
    assert client.config.stat().st_mode & 0o777 == 0o600
    client.do("push", name)
    forget(daemon, name)
    client.do("pull", name)
    remote = daemon.api.get(f"/distribution/{name}/json")
    assert remote.status == 500 and "no basic auth credentials" in remote.message
    assert "Removing login credentials" in client.do("logout", GUARDED)
    assert "no basic auth credentials" in client.refused("pull", name)
    for secret in ("hunter2", "secret"):
        assert secret not in daemon.log_text()
    forget(daemon, name)


def test_what_a_registry_has(daemon: Daemon, plain: Registry) -> None:
    name = f"{PLAIN}/looked/at"
    daemon.do("tag", "busybox", name)
    daemon.do("push", name)
    found = daemon.api.get(f"/distribution/{name}/json").json
    digest = daemon.api.get(f"/images/{name}/json").json["RepoDigests"][0].partition("@")[2]
    assert found["Descriptor"]["digest"] == digest
    assert [item["os"] for item in found["Platforms"]] == ["linux"]
    assert daemon.api.get(f"/distribution/{PLAIN}/none/json").status == 404
    # This registry has no search; a hub that cannot be reached is no worse.
    assert "Unexpected status code 404" in daemon.refused("search", f"{PLAIN}/looked")
    forget(daemon, name)


def test_tls(daemon: Daemon, host: Daemon, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    certificate = authority.issue("registry", [HOST4])
    tls = f", tls: {{certificate: {certificate.cert}, key: {certificate.key}}}"
    registry = Registry(daemon, SECURE, http=tls)
    settings = (daemon.directory / "carrickd.toml").read_text()
    trusted = Path(settings.split('"')[1]) / SECURE
    try:
        name = f"{SECURE}/box"
        daemon.do("tag", "busybox", name)
        assert "failed to verify certificate" in daemon.refused("push", name)
        trusted.mkdir(parents=True)
        shutil.copy(authority.ca, trusted / "ca.crt")
        daemon.do("push", name)
        daemon.do("pull", name)
    finally:
        shutil.rmtree(trusted, ignore_errors=True)
        registry.close()
        forget(daemon, f"{SECURE}/box")


def test_a_plain_registry_elsewhere_must_be_named(images: Path) -> None:
    where = f"{HOST4}:5003"
    with Daemon(images=images, outside=True) as daemon:
        registry = Registry(daemon, where)
        daemon.do("tag", "busybox", f"{where}/box")
        assert f'Get "https://{where}/v2/": ' in daemon.refused("push", f"{where}/box")
        daemon.stop()
        (daemon.directory / "carrickd.toml").write_text(f'insecure-registries = ["{HOST4}/32"]\n')
        daemon.start()
        daemon.do("push", f"{where}/box")
        registry.close()


@pytest.mark.skipif(shutil.which("zstd") is None, reason="needs zstd")
def test_layers_in_zstd(daemon: Daemon, plain: Registry) -> None:
    daemon.do("tag", "busybox", f"{PLAIN}/gz")
    daemon.do("push", f"{PLAIN}/gz")
    # By way of a directory: skopeo would find the layer in the registry, and use it as it is there.
    layout = f"oci:{daemon.directory}/zstd-layout:z"
    daemon.machine.do(
        *("skopeo", "copy", "--src-tls-verify=false", "--dest-compress", "--dest-compress-format", "zstd"),
        *(f"docker://{PLAIN}/gz:latest", layout),
    )
    daemon.machine.do(
        *("skopeo", "copy", "--dest-tls-verify=false", "--preserve-digests"),
        *(layout, f"docker://{PLAIN}/z:latest"),
    )
    raw = daemon.machine.do("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{PLAIN}/z")
    assert "tar+zstd" in raw
    forget(daemon, f"{PLAIN}/gz")
    assert "Pull complete" in daemon.do("pull", f"{PLAIN}/z")
    assert daemon.do("run", "--rm", f"{PLAIN}/z", "echo", "unpacked") == "unpacked"
    # It goes out as it came in.
    daemon.do("tag", f"{PLAIN}/z", f"{PLAIN}/z2")
    daemon.do("push", f"{PLAIN}/z2")
    again = daemon.machine.do("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{PLAIN}/z2")
    assert again == raw
    archive = daemon.directory / "z.tar"
    daemon.do("save", "-o", str(archive), f"{PLAIN}/z")
    daemon.machine.do("zstd", "-q", str(archive))
    forget(daemon, f"{PLAIN}/z", f"{PLAIN}/z2")
    assert f"Loaded image: {PLAIN}/z:latest" in daemon.do("load", "-i", f"{archive}.zst")
    assert daemon.do("run", "--rm", f"{PLAIN}/z", "echo", "loaded") == "loaded"
    forget(daemon, f"{PLAIN}/z")


def incoming(daemon: Daemon) -> list[Path]:
    """Return what is half fetched."""
    places = (daemon.state_dir / "images" / name for name in ("incoming", "work"))
    return [path for place in places if place.exists() for path in place.iterdir()]


def test_a_client_that_vanishes(daemon: Daemon, plain: Registry, client: Client) -> None:
    name = f"{PLAIN}/slow"
    daemon.do("tag", "busybox", name)
    daemon.do("push", name)
    forget(daemon, name)
    plain.signal(signal.SIGSTOP)
    try:
        process = client.start("pull", name)
        log = daemon.machine.run
        eventually(lambda: ":5000" in log("ss", "-Htn", "state", "established").out, 30)
        process.kill()
        process.communicate(timeout=30)
        eventually(lambda: f"{PLAIN}" not in log("ss", "-Htnp", "state", "established").out, 30)
    finally:
        plain.signal(signal.SIGCONT)
    assert not incoming(daemon)
    client.do("pull", name)
    forget(daemon, name)


def test_a_registry_that_dies(daemon: Daemon, plain: Registry, client: Client) -> None:
    name = f"{PLAIN}/dying"
    daemon.do("tag", "busybox", name)
    daemon.do("push", name)
    forget(daemon, name)
    plain.signal(signal.SIGSTOP)
    process = client.start("pull", name)
    connections = daemon.machine.run
    eventually(lambda: ":5000" in connections("ss", "-Htn", "state", "established").out, 30)
    plain.kill()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1, out
    assert f'"http://{PLAIN}/v2/' in out
    assert not incoming(daemon)
    assert daemon.api.get(f"/images/{name}/json").status == 404
    plain.start()
    client.do("pull", name)
    forget(daemon, name)


def test_two_clients_at_once(daemon: Daemon, plain: Registry, client: Client, busybox_tar: Path) -> None:
    name = f"{PLAIN}/both"
    daemon.do("import", str(busybox_tar), name)
    daemon.do("push", name)
    forget(daemon, name)
    both = [client.start("pull", name) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert daemon.do("run", "--rm", name, "echo", "whole") == "whole"
    forget(daemon, name)


def test_import_from_a_url(daemon: Daemon, busybox_tar: Path, client: Client) -> None:
    server = subprocess.Popen(
        daemon.machine.command(
            *(sys.executable, "-m", "http.server", "-b", "127.0.0.1", "-d", str(busybox_tar.parent), "8000")
        ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:8000/{busybox_tar.name}"
    try:
        eventually(lambda: daemon.answers(url), 30)
        text = client.do("import", url, "imported:1")
        assert f"Downloading from {url}" in text
        assert client.do("run", "--rm", "imported:1", "echo", "here").strip() == "here"
        assert "failed to GET" in client.refused("import", f"{url}.none")
    finally:
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        for pid in children or [str(server.pid)]:
            os.kill(int(pid), signal.SIGKILL)
        server.wait(30)
        forget(daemon, "imported:1")


def test_disk_usage(daemon: Daemon, client: Client) -> None:
    client.do("volume", "create", "vol")
    script = "head -c 3000000 /dev/zero >/v/file; head -c 1000000 /dev/zero >/file"
    client.do("run", "--name", "user", "-v", "vol:/v", "busybox", "sh", "-c", script)
    found = daemon.api.get("/system/df").json
    (volume,) = (item for item in found["Volumes"] if item["Name"] == "vol")
    assert volume["UsageData"] == {"RefCount": 1, "Size": 3_000_000}
    (container,) = found["Containers"]
    assert 1_000_000 <= container["SizeRw"] < 1_100_000
    # On the disk they are twice, packed and unpacked.
    assert found["LayersSize"] > sum(image["Size"] for image in found["Images"])
    text = client.do("system", "df", "-v")
    assert "3MB" in text.split("VOLUME NAME")[1]
    daemon.do("rm", "user")
    daemon.do("volume", "rm", "vol")

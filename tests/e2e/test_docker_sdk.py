"""The Python SDK (`docker` on PyPI), pointed at the daemon: the ordinary day of every part of it."""

import gc
import io
import socket
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import docker
import pytest
from docker import errors, types
from docker.models.containers import Container

from carrick.testing.daemon import Daemon, eventually, split_frames
from carrick.testing.inventory import settle

# The SDK leaves it to the garbage collector to close its hijacked connections.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Any]:
    made = docker.from_env(environment=daemon.environment)
    try:
        yield made
    finally:
        made.close()
        gc.collect()  # Now, and not in the middle of another module's test, where it is an error.
        daemon.remove_all()
        daemon.api.post('/volumes/prune?filters={"all":["1"]}')


@pytest.fixture
def box(client: Any) -> Any:
    return client.containers.run("busybox", "sleep 1d", detach=True, name="box", stop_signal="KILL")


def archive_of(name: str, data: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


def read_all(stream: Any) -> bytes:
    """Read a hijacked connection to its end."""
    data = b""
    while chunk := stream.recv(65536):
        data += chunk
    return data


def test_versions(client: Any, daemon: Daemon) -> None:
    assert client.ping() and client.version()["ApiVersion"] == client.api.api_version == "1.48"
    assert client.info()["Containers"] == 0
    for version in ("1.24", "1.41", "auto"):
        with closing(docker.DockerClient(base_url=f"unix://{daemon.socket}", version=version)) as other:
            assert other.containers.list() == []
    new = docker.DockerClient(base_url=f"unix://{daemon.socket}", version="1.99")
    with closing(new), pytest.raises(errors.APIError, match=r"client version 1\.99 is too new"):
        new.containers.list()


def test_running(client: Any) -> None:
    assert client.containers.run("busybox", "echo hello", remove=True) == b"hello\n"
    with pytest.raises(errors.ContainerError, match="non-zero exit status 4"):
        client.containers.run("busybox", 'sh -c "exit 4"', remove=True)
    with pytest.raises(errors.APIError, match="executable file not found"):
        client.containers.run("busybox", "nosuch", name="broken")
    client.containers.get("broken").remove()
    with pytest.raises(errors.NotFound, match="No such container: nosuch"):
        client.containers.get("nosuch")
    container = client.containers.run(
        "busybox",
        ["sh", "-c", "echo out; echo err >&2; sleep 1d"],
        detach=True,
        name="full",
        labels={"tier": "front"},
        environment={"X": "1"},
        ports={"80/tcp": ("127.0.0.1", None), "81/udp": 8081},
        volumes={"data": {"bind": "/data", "mode": "rw"}},
        stop_signal="KILL",
        mem_limit="64m",
    )
    assert container.status == "created"
    container.reload()
    assert container.status == "running"
    assert container.ports["80/tcp"][0]["HostIp"] == "127.0.0.1"
    assert container.ports["81/udp"][0]["HostPort"] == "8081"
    eventually(lambda: container.logs() != b"")
    assert container.logs(stderr=False) == b"out\n" and container.logs(stdout=False) == b"err\n"
    assert container.attrs["HostConfig"]["Memory"] == 64 << 20
    assert [item.name for item in client.containers.list(filters={"label": "tier=front"})] == ["full"]
    assert client.containers.list(filters={"status": "exited"}) == []
    container.pause()
    container.reload()
    assert container.status == "paused"
    container.unpause()
    container.rename("renamed")
    container.update(mem_limit="96m", memswap_limit="192m")
    container.restart(timeout=0)
    container.reload()
    assert (container.name, container.status) == ("renamed", "running")
    assert container.top()["Titles"][0] == "UID"
    container.kill()
    assert container.wait()["StatusCode"] == 137
    container.remove(v=True)
    assert client.containers.list(all=True) == []


def test_waiting(client: Any) -> None:
    gone = client.containers.create("busybox", 'sh -c "exit 3"', auto_remove=True)
    codes: list[int] = []
    waiting = threading.Thread(target=lambda: codes.append(gone.wait(condition="removed")["StatusCode"]))
    waiting.start()
    gone.start()
    waiting.join(30)
    assert codes == [3]
    once = client.containers.run("busybox", "true", detach=True)
    assert once.wait()["StatusCode"] == 0
    once.remove()


def test_streams(client: Any) -> None:
    talker = client.containers.run("busybox", ["sh", "-c", "echo a; sleep 0.3; echo b"], detach=True)
    assert b"".join(talker.logs(stream=True, follow=True)) == b"a\nb\n"
    stamped = talker.logs(timestamps=True, tail=1)
    assert stamped.endswith(b" b\n") and stamped[:2] == b"20"
    reader = client.containers.create("busybox", ["sh", "-c", "cat; echo done >&2; exit 5"], stdin_open=True)
    attached = reader.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
    reader.start()
    attached._sock.sendall(b"typed\n")
    attached._sock.shutdown(socket.SHUT_WR)
    streams = split_frames(read_all(attached._sock))
    attached.close()
    assert streams == {1: "typed\n", 2: "done\n"}
    assert reader.wait()["StatusCode"] == 5 and reader.logs(stderr=False) == b"typed\n"
    live = client.containers.run("busybox", "sleep 1d", detach=True, stop_signal="KILL")
    numbers = live.stats(decode=True)
    assert next(numbers)["name"].lstrip("/") == live.name
    second = next(numbers)
    assert second["precpu_stats"]["cpu_usage"]["total_usage"] > 0 and "eth0" in second["networks"]
    numbers.close()
    assert live.stats(stream=False)["pids_stats"]["current"] == 1


def test_exec(box: Any) -> None:
    assert box.exec_run("echo hi") == (0, b"hi\n")
    both = box.exec_run(["sh", "-c", "echo a; echo b >&2; exit 3"], demux=True, environment={"A": "1"})
    assert both == (3, (b"a\n", b"b\n"))
    _, pieces = box.exec_run(["sh", "-c", "echo 1; echo 2"], stream=True)
    assert b"".join(pieces) == b"1\n2\n"
    _, pairs = box.exec_run(["sh", "-c", "echo 1; echo 2 >&2"], stream=True, demux=True)
    assert set(pairs) == {(b"1\n", None), (None, b"2\n")}
    _, connection = box.exec_run("cat", stdin=True, socket=True)
    connection._sock.sendall(b"typed\n")
    connection._sock.shutdown(socket.SHUT_WR)
    assert split_frames(read_all(connection._sock))[1] == "typed\n"
    connection.close()
    box.exec_run("touch /made", detach=True)
    eventually(lambda: box.exec_run("ls /made").exit_code == 0)
    assert box.exec_run("id -u", user="1000", workdir="/tmp", tty=True).output == b"1000\r\n"
    assert box.exec_run("nosuch").exit_code == 127


def test_files(client: Any, box: Any) -> None:
    assert box.put_archive("/tmp", archive_of("f", b"abc"))
    pieces, found = box.get_archive("/tmp/f")
    assert (found["name"], found["size"]) == ("f", 3)
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
        file = archive.extractfile("f")
        assert file is not None and file.read() == b"abc"
    with pytest.raises(errors.NotFound, match="Could not find the file /nosuch"):
        box.get_archive("/nosuch")
    assert {"Path": "/tmp/f", "Kind": 1} in box.diff()
    with tarfile.open(fileobj=io.BytesIO(b"".join(box.export()))) as archive:
        assert "tmp/f" in archive.getnames()


def test_networks(client: Any, box: Any) -> None:
    pool = types.IPAMPool(subnet="10.77.0.0/24", gateway="10.77.0.1")
    back = client.networks.create("back", ipam=types.IPAMConfig(pool_configs=[pool]), labels={"a": "b"})
    back.connect(box, aliases=["alias"], ipv4_address="10.77.0.9")
    back.reload()
    assert [container.name for container in back.containers] == ["box"]
    endpoint = client.api.create_endpoint_config(aliases=["first", "second"], ipv4_address="10.77.0.99")
    other = client.containers.run(
        "busybox",
        "sleep 1d",
        detach=True,
        name="other",
        network="back",
        networking_config={"back": endpoint},
        stop_signal="KILL",
    )
    assert b"(10.77.0.9)" in other.exec_run("ping -c1 alias").output
    for name in ("first", "second", "other"):
        assert b"(10.77.0.99)" in box.exec_run(f"ping -c1 {name}").output
    assert {"first", "second"} <= set(other.attrs["NetworkSettings"]["Networks"]["back"]["Aliases"])
    with pytest.raises(errors.APIError, match="has active endpoints"):
        back.remove()
    back.disconnect(box)
    other.remove(force=True)
    assert [item.name for item in client.networks.list(filters={"label": "a=b"})] == ["back"]
    assert client.networks.prune() == {"NetworksDeleted": ["back"]}
    assert [item.name for item in client.networks.list(names=["bridge"])] == ["bridge"]


def test_volumes(client: Any) -> None:
    volume = client.volumes.create("data", labels={"a": "b"})
    mount = types.Mount("/data", "data")
    client.containers.run("busybox", ["sh", "-c", "echo kept >/data/f"], mounts=[mount], remove=True)
    kept = client.containers.run("busybox", "cat /data/f", volumes=["data:/data:ro"], remove=True)
    assert kept == b"kept\n"
    assert [item.name for item in client.volumes.list(filters={"label": "a"})] == ["data"]
    assert client.df()["Volumes"][0]["UsageData"] == {"RefCount": 0, "Size": 5}
    volume.remove()
    with pytest.raises(errors.NotFound):
        client.volumes.get("data")
    client.volumes.create("pruned")
    assert client.volumes.prune(filters={"all": True})["VolumesDeleted"] == ["pruned"]


def test_images(client: Any, box: Any) -> None:
    assert box.exec_run(["sh", "-c", "echo made >/made"]).exit_code == 0
    image = box.commit("made", "v1", message="why", author="me", changes='CMD ["cat", "/made"]')
    assert image.tags == ["made:v1"] and image.history()[0]["Comment"] == "why"
    assert client.containers.run("made:v1", remove=True) == b"made\n"
    saved = b"".join(image.save(named=True))
    assert image.tag("again", "v2") and "again:v2" in client.images.get("made:v1").tags
    client.images.remove("again:v2")
    client.images.remove("made:v1")
    with pytest.raises(errors.ImageNotFound):
        client.images.get("made:v1")
    (loaded,) = client.images.load(saved)
    assert loaded.tags == ["made:v1"] and client.containers.run("made:v1", remove=True) == b"made\n"
    client.api.import_image_from_data(b"".join(box.export()), repository="flat", tag="1")
    assert client.containers.run("flat:1", "cat /made", remove=True) == b"made\n"
    assert {"flat:1", "made:v1"} <= {tag for item in client.images.list() for tag in item.tags}
    for name in ("flat:1", "made:v1"):
        client.images.remove(name)
    assert client.images.prune()["SpaceReclaimed"] == 0
    with pytest.raises(errors.APIError, match="use buildah or docker buildx"):
        client.images.build(fileobj=io.BytesIO(b"FROM busybox\n"))


def test_the_low_level(client: Any) -> None:
    """What the high level is made of, as tools use it that were written before there was one."""
    api = client.api
    client.networks.create("low", ipam=types.IPAMConfig(pool_configs=[types.IPAMPool(subnet="10.78.0.0/24")]))
    host = api.create_host_config(
        binds=["/usr/share:/share:ro"],
        port_bindings={81: None},
        tmpfs={"/scratch": "size=1m"},
        cap_drop=["ALL"],
        dns=["192.0.2.53"],
        extra_hosts={"known": "1.2.3.4"},
        restart_policy={"Name": "on-failure", "MaximumRetryCount": 2},
        ulimits=[types.Ulimit(name="nofile", soft=100, hard=200)],
        log_config=types.LogConfig(type="json-file", config={"max-size": "1m"}),
        shm_size="1m",
        init=True,
        mounts=[types.Mount("/mounted", "low")],
        sysctls={"net.ipv4.ip_forward": "0"},
    )
    endpoint = api.create_endpoint_config(aliases=["alias"], ipv4_address="10.78.0.99")
    made = api.create_container(
        "busybox",
        ["sh", "-c", "ulimit -n; ls -d /share /scratch /mounted; grep known /etc/hosts; ip -o -4 addr"],
        host_config=host,
        networking_config=api.create_networking_config({"low": endpoint}),
    )
    api.start(made)
    assert api.wait(made)["StatusCode"] == 0
    seen = api.logs(made).decode()
    assert seen.startswith("100\n") and {"/mounted", "/scratch", "/share"} <= set(seen.split("\n"))
    assert "1.2.3.4\tknown" in seen and "10.78.0.99/24" in seen
    inspected = api.inspect_container(made)
    assert list(inspected["NetworkSettings"]["Networks"]) == ["low"]
    assert inspected["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}
    api.remove_container(made, v=True)
    assert client.containers.prune()["SpaceReclaimed"] == 0


def test_events(client: Any) -> None:
    stream = client.events(decode=True, filters={"type": "container"})
    seen: list[str] = []

    def follow() -> None:
        for event in stream:
            seen.append(f"{event['Action']} {event['Actor']['Attributes']['name']}")

    following = threading.Thread(target=follow)
    following.start()
    try:
        container: Container = client.containers.run("busybox", "true", detach=True, name="told")
        container.wait()
        container.remove()
        eventually(lambda: "destroy told" in seen)
    finally:
        stream.close()
        following.join(30)
    assert not following.is_alive()
    assert [word for word in seen if "attach" not in word] == [
        "create told",
        "start told",
        "die told",
        "destroy told",
    ]
    now = int(time.time()) + 1
    past = client.events(since=now - 60, until=now, decode=True, filters={"container": "told"})
    assert [event["Action"] for event in past][:1] == ["create"]


def test_nothing_is_left(client: Any, daemon: Daemon) -> None:
    daemon.remove_all()
    assert not settle(daemon)

"""containerd's CRI service, as Kubernetes uses it, runs pod sandboxes on Carrick's networks."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from carrick.testing.daemon import OUTSIDE, Daemon, eventually

from .cri import CONTAINERD, Containerd, Cri, Pod, Refused

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="runs containers: needs root"),
    pytest.mark.skipif(
        not (Path(CONTAINERD).exists() and Path("/usr/lib/cni/loopback").exists()),
        reason="needs Debian's containerd and containernetworking-plugins (scripts/bootstrap dev)",
    ),
]


@pytest.fixture(scope="module")
def containerd() -> Iterator[Containerd]:
    with Daemon(outside=True) as daemon:
        daemon.do("network", "create", "--subnet", "10.9.0.0/24", "pods")
        base = daemon.directory / "containerd"
        with Containerd(daemon) as found:
            daemon.do(
                *("cni", "install", "--bin-dir", str(base / "bin"), "--conf-dir", str(base / "net.d")),
                *("--network", "pods"),
            )
            # containerd runs this one for every pod, whatever the configuration says.
            (base / "bin" / "loopback").symlink_to("/usr/lib/cni/loopback")
            yield found
        assert not daemon.tracebacks()


@pytest.fixture
def cri(containerd: Containerd) -> Iterator[Cri]:
    yield Cri(containerd.socket)
    daemon = containerd.daemon
    assert daemon.do("guest", "ls", "-q") == ""
    eventually(lambda: not [link for link in daemon.machine.links() if link.startswith("ck")], 30)


def test_two_pods(containerd: Containerd, cri: Cri) -> None:
    daemon = containerd.daemon
    parent = f"/{daemon.name}"
    pods = [Pod("web", ports=((8080, 80),), cgroup_parent=parent), Pod("client", cgroup_parent=parent)]
    ids = [run_pod(containerd, cri, pod) for pod in pods]
    addresses = [cri.pod_address(pod) for pod in ids]
    assert all(address.startswith("10.9.0.") for address in addresses)
    views = daemon.network("pods")["Containers"]
    assert {views[pod]["IPv4Address"] for pod in ids} == {f"{address}/24" for address in addresses}
    assert {views[pod]["Engine"] for pod in ids} == {"kubernetes"}
    server = "mkdir -p /www && hostname >/www/index.html && exec httpd -f -p 80 -h /www"
    cri.run_container(ids[0], pods[0], "server", "sh", "-c", server)
    client = cri.run_container(ids[1], pods[1], "client", "sleep", "1d")
    code, output = cri.exec(client, "ping", "-c", "1", "-W", "5", addresses[0])
    assert code == 0, output
    eventually(lambda: cri.exec(client, "wget", "-q", "-O-", f"http://{addresses[0]}/") == (0, "web\n"), 30)
    # The pod's own resolver knows the other's name; Kubernetes writes resolv.conf as it likes.
    code, output = cri.exec(client, "nslookup", "web", "127.0.0.11")
    assert (code, addresses[0] in output) == (0, True), output
    code, output = cri.exec(client, "nslookup", "web.default", "127.0.0.11")
    assert (code, addresses[0] in output) == (0, True), output
    assert daemon.fetch("http://192.0.2.1:8080/", netns=OUTSIDE) == "web"
    for pod in ids:
        cri.stop_pod(pod)
        cri.stop_pod(pod)
    assert daemon.network("pods")["Containers"] == {}
    for pod in ids:
        cri.remove_pod(pod)


def test_a_daemon_that_is_down(containerd: Containerd, cri: Cri) -> None:
    daemon = containerd.daemon
    pod = Pod("steady", cgroup_parent=f"/{daemon.name}")
    found = run_pod(containerd, cri, pod)
    container = cri.run_container(found, pod, "c", "sleep", "1d")
    daemon.kill9()
    with pytest.raises(Refused, match="carrickd does not answer"):
        cri.run_pod(Pod("late", cgroup_parent=f"/{daemon.name}"))
    code, output = cri.exec(container, "ping", "-c", "1", "-W", "5", "10.9.0.1")
    assert code == 0, output
    cri.stop_pod(found)
    cri.remove_pod(found)
    daemon.start()
    eventually(lambda: daemon.network("pods")["Containers"] == {}, 30)
    late = run_pod(containerd, cri, Pod("late", cgroup_parent=f"/{daemon.name}"))
    cri.stop_pod(late)
    cri.remove_pod(late)


def run_pod(containerd: Containerd, cri: Cri, pod: Pod) -> str:
    try:
        return cri.run_pod(pod)
    except Refused as error:
        raise AssertionError(f"{error}\n--- containerd:\n{containerd.log()}") from error

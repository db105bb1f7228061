"""Views into Docker's JSON."""

from datetime import UTC, datetime, timedelta

import pytest

from carrick.doors.api.render.containers import render_container, render_container_entry, status_text
from carrick.doors.api.render.host_config import render_host_config
from carrick.doors.api.render.images import progress_bar, render_history, render_image_entry
from carrick.doors.api.render.networks import render_network, render_network_entry
from carrick.doors.api.render.stats import render_stats
from carrick.doors.api.render.system import render_event
from carrick.doors.api.render.times import human_duration, render_log_time, render_time, render_time_ns
from carrick.engine.values import (
    Attached,
    Attachment,
    ContainerRecord,
    ContainerView,
    Event,
    NetworkView,
    PoolUse,
    PublishedPort,
)
from carrick.host.runtime.api import ContainerStats, LayerSize, NetworkCounters
from carrick.model.containers import (
    ContainerConfig,
    ContainerState,
    ContainerStatus,
    Health,
    HealthStatus,
    HostConfig,
    Image,
    ImageHistory,
    PortBinding,
)
from carrick.model.ids import ContainerId, EndpointId, ImageId, NetworkId, SandboxId
from carrick.model.networks import Endpoint, EndpointSettings, Network, PoolConfig, Sandbox

NOW = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
CONTAINER = ContainerId("c" * 64)
NETWORK = NetworkId("e" * 64)


def view(
    status: ContainerStatus = ContainerStatus.RUNNING, network: str = "web", mode: str = "web"
) -> ContainerView:
    endpoint = Endpoint(
        EndpointId("a" * 64),
        NETWORK,
        network,
        0,
        mac_address="02:00:00:00:00:01",
        ipv4="172.18.0.2/16",
        ipv6="fd00::2/64",
        gateway4="172.18.0.1",
        dns_names=("c1", "cccccccccccc"),
    )
    record = ContainerRecord(
        id=CONTAINER,
        name="c1",
        created=NOW - timedelta(minutes=4),
        image_id=ImageId("sha256:" + "1" * 64),
        asked_image="busybox",
        config=ContainerConfig(
            image="busybox", cmd=("echo", "a b"), exposed_ports=("80/tcp", "443/tcp"), hostname="h"
        ),
        host_config=HostConfig(network_mode=mode, port_bindings=(PortBinding(80, host_port="8080"),)),
        state=ContainerState(status, 7, started_at=NOW - timedelta(minutes=3)),
        attachments=(Attachment(network, EndpointSettings(aliases=("x",), ipv4_address="172.18.0.2")),),
        ports=(PublishedPort(80, "tcp", "::", 8080), PublishedPort(80, "tcp", "0.0.0.0", 8080)),
    )
    is_up = status is ContainerStatus.RUNNING
    sandbox = Sandbox(SandboxId("5" * 64), CONTAINER, "/run/netns/c", active=is_up, endpoints=(endpoint,))
    return ContainerView(record, sandbox, None, network_ids={network: NETWORK})


def test_inspect_shows_the_network() -> None:
    settings = render_container(view(), (1, 48))["NetworkSettings"]
    assert settings["SandboxKey"] == "/run/netns/c"
    assert settings["Networks"]["web"] == {
        "IPAMConfig": {"IPv4Address": "172.18.0.2"},
        "Links": None,
        "Aliases": ["x"],
        "MacAddress": "02:00:00:00:00:01",
        "DriverOpts": None,
        "GwPriority": 0,
        "NetworkID": NETWORK,
        "EndpointID": "a" * 64,
        "Gateway": "172.18.0.1",
        "IPAddress": "172.18.0.2",
        "IPPrefixLen": 16,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "fd00::2",
        "GlobalIPv6PrefixLen": 64,
        "DNSNames": ["c1", "cccccccccccc"],
    }
    assert settings["Ports"]["443/tcp"] is None
    assert {"HostIp": "0.0.0.0", "HostPort": "8080"} in settings["Ports"]["80/tcp"]
    assert settings["IPAddress"] == ""  # the copies are the default network's alone


def test_older_clients_get_older_shapes() -> None:
    networks = render_container(view(), (1, 43))["NetworkSettings"]["Networks"]["web"]
    assert "DNSNames" not in networks
    assert "GwPriority" not in networks
    assert networks["Aliases"] == ["x", "c" * 12, "h"]


def test_the_default_networks_addresses_are_copied() -> None:
    settings = render_container(view(network="bridge", mode="bridge"), (1, 48))["NetworkSettings"]
    assert settings["IPAddress"] == "172.18.0.2"
    assert settings["MacAddress"] == settings["Networks"]["bridge"]["MacAddress"]


def test_a_stopped_container_shows_no_addresses() -> None:
    settings = render_container(view(ContainerStatus.EXITED), (1, 48))["NetworkSettings"]
    assert settings["Ports"] == {}
    assert settings["Networks"]["web"]["IPAddress"] == ""
    assert settings["Networks"]["web"]["NetworkID"] == NETWORK


def test_a_shared_namespace_shows_nothing_of_its_own() -> None:
    settings = render_container(view(mode="container:other"), (1, 48))["NetworkSettings"]
    assert (settings["Networks"], settings["Ports"], settings["SandboxID"]) == ({}, {}, "")


def test_inspect_has_dockers_fields() -> None:
    document = render_container(view(), (1, 48), LayerSize(1, 2))
    assert " ".join(document) == (
        "Id Created Path Args State Image ResolvConfPath HostnamePath HostsPath LogPath Name RestartCount "
        "Driver Platform MountLabel ProcessLabel AppArmorProfile ExecIDs HostConfig GraphDriver "
        "SizeRw SizeRootFs Mounts Config NetworkSettings"
    )
    assert (document["Path"], document["Args"], document["Name"]) == ("echo", ["a b"], "/c1")


def test_a_list_entry() -> None:
    entry = render_container_entry(view(), (1, 48), NOW)
    assert entry["Status"] == "Up 3 minutes"
    assert entry["Command"] == "echo 'a b'"
    assert entry["Ports"] == [
        {"PrivatePort": 443, "Type": "tcp"},
        {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
        {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
    ]
    assert "SizeRw" not in entry


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (ContainerState(), "Created"),
        (ContainerState(ContainerStatus.PAUSED, started_at=NOW), "Up Less than a second (Paused)"),
        (
            ContainerState(ContainerStatus.EXITED, exit_code=3, started_at=NOW, finished_at=NOW),
            "Exited (3) Less than a second ago",
        ),
        (
            ContainerState(ContainerStatus.RESTARTING, exit_code=1, finished_at=NOW - timedelta(seconds=2)),
            "Restarting (1) 2 seconds ago",
        ),
        (ContainerState(ContainerStatus.DEAD), "Dead"),
        (ContainerState(ContainerStatus.REMOVING), "Removal In Progress"),
        (
            ContainerState(ContainerStatus.RUNNING, started_at=NOW, health=Health(HealthStatus.STARTING)),
            "Up Less than a second (health: starting)",
        ),
    ],
)
def test_status_texts(state: ContainerState, text: str) -> None:
    assert status_text(state, NOW) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (3600, "About an hour"),
        (7200, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (15 * 86400, "2 weeks"),
        (61 * 86400, "2 months"),
        (800 * 86400, "2 years"),
    ],
)
def test_human_durations(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def test_times_as_go_writes_them() -> None:
    assert render_time(None) == "0001-01-01T00:00:00Z"
    assert render_time(NOW) == "2024-05-06T07:08:09Z"
    assert render_time(NOW.replace(microsecond=120_000)) == "2024-05-06T07:08:09.12Z"
    assert render_time_ns(1_700_000_000_000_000_001) == "2023-11-14T22:13:20.000000001Z"
    assert render_log_time(1_700_000_000_100_000_000) == b"2023-11-14T22:13:20.100000000Z"


def test_host_config_defaults_are_dockers() -> None:
    document = render_host_config(HostConfig())
    assert document["Binds"] is None
    assert document["ShmSize"] == 64 << 20
    assert "/proc/kcore" in document["MaskedPaths"]
    assert render_host_config(HostConfig(privileged=True))["MaskedPaths"] is None


def network_view() -> NetworkView:
    network = Network(
        NETWORK, "web", "bridge", 1_700_000_000_000_000_000, pools=(PoolConfig("172.18.0.0/16"),)
    )
    attached = Attached(CONTAINER, "c1", "a" * 64, "02:00:00:00:00:01", "172.18.0.2/16", "")
    return NetworkView(network, (attached,), (PoolUse("172.18.0.0/16", 2, 65532),))


def test_a_network() -> None:
    document = render_network(network_view(), (1, 48))
    assert document["Containers"][CONTAINER]["IPv4Address"] == "172.18.0.2/16"
    assert document["IPAM"] == {"Driver": "default", "Options": None, "Config": [{"Subnet": "172.18.0.0/16"}]}
    assert document["EnableIPv4"] is True
    assert "Status" not in document
    assert "EnableIPv4" not in render_network(network_view(), (1, 47))
    assert render_network_entry(network_view(), (1, 48))["Containers"] == {}


def test_a_verbose_network_tells_how_full_its_pools_are() -> None:
    status = render_network(network_view(), (1, 48), verbose=True)["Status"]
    assert status["IPAM"]["Subnets"]["172.18.0.0/16"] == {"IPsInUse": 2, "DynamicIPsAvailable": 65532}


def test_statistics() -> None:
    before = ContainerStats(NOW, cpu_total_ns=1, system_cpu_ns=10)
    after = ContainerStats(NOW, cpu_total_ns=2, system_cpu_ns=20, networks=(NetworkCounters("eth0", 5),))
    document = render_stats(after, before, container_id="i", name="n", is_running=True)
    assert document["precpu_stats"]["cpu_usage"]["total_usage"] == 1
    assert document["networks"]["eth0"]["rx_bytes"] == 5
    empty = render_stats(after, None, container_id="i", name="n", is_running=False)
    assert (empty["read"], empty["memory_stats"]) == ("0001-01-01T00:00:00Z", {})


def test_events_have_legacy_fields_for_containers_only() -> None:
    event = Event("container", "start", "i", {"image": "busybox"}, 1_500_000_000)
    document = render_event(event, (1, 48))
    assert (document["status"], document["from"], document["time"]) == ("start", "busybox", 1)
    assert "status" not in render_event(Event("network", "create", "i", {}, 1), (1, 48))


def test_images() -> None:
    image = Image(ImageId("sha256:1"), repo_tags=("a:b",), size=5)
    assert "VirtualSize" not in render_image_entry(image, (1, 44))
    assert render_image_entry(image, (1, 43))["VirtualSize"] == 5
    steps = [ImageHistory(created_by=text) for text in ("new", "base", "old")]
    base = Image(ImageId("sha256:0"), repo_tags=("base:1",))
    shown = render_history([image, base], steps)
    assert [step["Id"] for step in shown] == ["sha256:1", "sha256:0", "<missing>"]
    assert [step["Tags"] for step in shown] == [["a:b"], ["base:1"], None]


def test_images_without_a_name() -> None:
    image = Image(ImageId("sha256:1"))
    old, new = render_image_entry(image, (1, 42)), render_image_entry(image, (1, 43))
    assert (old["RepoTags"], old["RepoDigests"]) == (["<none>:<none>"], ["<none>@<none>"])
    assert (new["RepoTags"], new["RepoDigests"]) == ([], [])


def test_progress_bars() -> None:
    assert progress_bar(50, 100) == "[" + "=" * 25 + ">" + " " * 25 + "]       50B/100B"
    assert progress_bar(100, 100).startswith("[" + "=" * 50 + ">]")
    assert progress_bar(1500, 0) == "   1.5kB"

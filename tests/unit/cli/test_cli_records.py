"""What the lists print about each object."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.doors.cli.records.containers import ContainerRecord, ports_text
from carrick.doors.cli.records.disk import usage_rows
from carrick.doors.cli.records.images import LayerRecord, image_records
from carrick.doors.cli.records.networks import NetworkRecord, VolumeRecord
from carrick.doors.cli.records.text import ellipsis, go_nano_time
from carrick.doors.cli.records.usage import UsageRecord

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
ID = "0123456789abcdef" * 4


def port(private: int, public: int = 0, ip: str = "", kind: str = "tcp") -> dict[str, object]:
    entry: dict[str, object] = {"PrivatePort": private, "Type": kind}
    if public:
        entry |= {"PublicPort": public, "IP": ip}
    return entry


@pytest.mark.parametrize(
    ("ports", "text"),
    [
        ([], ""),
        ([port(80)], "80/tcp"),
        ([port(80), port(81), port(82), port(90)], "80-82/tcp, 90/tcp"),
        ([port(80, 8080, "0.0.0.0"), port(80, 8080, "::")], "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"),
        ([port(9000, 9000, "0.0.0.0"), port(9001, 9001, "0.0.0.0")], "0.0.0.0:9000-9001->9000-9001/tcp"),
        (
            [port(53, 53, "127.0.0.1", "udp"), port(54, kind="udp"), port(80, 8080, "0.0.0.0")],
            "127.0.0.1:53->53/udp, 54/udp, 0.0.0.0:8080->80/tcp",
        ),
        (
            [
                *(port(number) for number in range(7000, 7004)),
                *(port(number, number, ip) for number in (9000, 9001) for ip in ("0.0.0.0", "::")),
                port(53, 5353, "127.0.0.1", "udp"),
                port(80, 8080, "0.0.0.0"),
            ],
            "7000-7003/tcp, 0.0.0.0:9000-9001->9000-9001/tcp, [::]:9000-9001->9000-9001/tcp,"
            " 127.0.0.1:5353->53/udp, 0.0.0.0:8080->80/tcp",
        ),
    ],
)
def test_ports(ports: list[dict[str, object]], text: str) -> None:
    assert ports_text(ports) == text


@given(
    st.lists(
        st.tuples(
            st.integers(1, 20),
            st.integers(0, 20),
            st.sampled_from(["0.0.0.0", "::"]),
            st.sampled_from(["tcp", "udp"]),
        )
    )
)
def test_every_port_is_told(entries: list[tuple[int, int, str, str]]) -> None:
    text = ports_text([port(*entry) for entry in entries])
    told: set[tuple[str, int]] = set()
    for part in filter(None, text.split(", ")):
        span, kind = part.rsplit("->", 1)[-1].split("/")
        first, _, last = span.partition("-")
        told |= {(kind, number) for number in range(int(first), int(last or first) + 1)}
    assert told == {(kind, private) for private, _, _, kind in entries}


def container(**more: object) -> ContainerRecord:
    data = {
        "Id": ID,
        "Names": ["/web", "/other/link"],
        "Image": "busybox",
        "ImageID": "sha256:" + "f" * 64,
        "Command": "sleep 1000000000000000000",
        "Created": int(NOW) - 180,
        "State": "running",
        "Status": "Up 3 minutes",
        "Labels": {"b": "2", "a": "1"},
        "Mounts": [{"Name": "a-very-long-volume-name", "Driver": "local"}, {"Source": "/src"}],
        "NetworkSettings": {"Networks": {"front": {}, "back": {}}},
        "SizeRw": 0,
        "SizeRootFs": 1_984_000,
    }
    return ContainerRecord({**data, **more}, truncate=True, now_s=NOW)


def test_a_container() -> None:
    values = container().to_json()
    assert values == {
        "Command": '"sleep 1000000000000…"',
        "CreatedAt": values["CreatedAt"],
        "ID": "0123456789ab",
        "Image": "busybox",
        "Labels": "a=1,b=2",
        "LocalVolumes": "1",
        "Mounts": "a-very-long-vo…,/src",
        "Names": "web",
        "Networks": "front,back",
        "Platform": None,
        "Ports": "",
        "RunningFor": "3 minutes ago",
        "Size": "0B (virtual 1.98MB)",
        "State": "running",
        "Status": "Up 3 minutes",
    }
    assert container().field("Label").call("a") == "1"
    assert container(Image="sha256:" + "f" * 64).field("Image") == "f" * 12
    assert container(Image="r/x:1@sha256:" + "0" * 64).field("Image") == "r/x:1"
    assert container(Image="").field("Image") == "<no image>"


def test_a_container_of_which_nothing_is_known() -> None:
    assert ContainerRecord({}, truncate=True, now_s=NOW).to_json()["ID"] == ""


def test_images() -> None:
    images = [
        {"Id": f"sha256:{ID}", "RepoTags": ["a:1", "b:2"], "RepoDigests": ["a@sha256:d"], "Size": 1},
        {"Id": f"sha256:{ID}", "RepoTags": None, "RepoDigests": ["<none>@<none>"], "Created": 0},
        {"Id": f"sha256:{ID}", "RepoTags": ["r:5000/x:t"], "RepoDigests": []},
    ]
    rows = [
        (record.field("Repository"), record.field("Tag"), record.field("Digest"))
        for record in image_records(images, digests=True, truncate=True, now_s=NOW)
    ]
    assert rows == [
        ("a", "1", "sha256:d"),
        ("b", "2", "<none>"),
        ("<none>", "<none>", "<none>"),
        ("r:5000/x", "t", "<none>"),
    ]


def test_history() -> None:
    layer = {"Id": "<missing>", "Created": 0, "CreatedBy": "x" * 60, "Size": 1500, "Comment": "c"}
    values = LayerRecord(layer, truncate=True, human=True, now_s=NOW).to_json()
    assert values["CreatedBy"] == "x" * 44 + "…" and values["Size"] == "1.5kB"
    assert LayerRecord(layer, truncate=True, human=False, now_s=NOW).field("Size") == "1500"


def test_networks_and_volumes() -> None:
    network = {
        "Id": ID,
        "Name": "n",
        "Driver": "bridge",
        "Scope": "local",
        "EnableIPv6": True,
        "Created": "2026-01-02T03:04:05.120000000Z",
        "Labels": {"a": "b"},
    }
    values = NetworkRecord(network, truncate=True).to_json()
    assert values["ID"] == "0123456789ab" and values["IPv6"] == "true" and values["IPv4"] == "false"
    assert values["CreatedAt"] == "2026-01-02 03:04:05.12 +0000 UTC"
    assert go_nano_time("0001-01-01T00:00:00Z") == "0001-01-01 00:00:00 +0000 UTC"
    assert VolumeRecord({"Name": "v"}).to_json()["Size"] == "N/A"


def test_usage() -> None:
    sample = {
        "id": ID,
        "name": "/web",
        "cpu_stats": {"cpu_usage": {"total_usage": 300}, "system_cpu_usage": 2000, "online_cpus": 2},
        "precpu_stats": {"cpu_usage": {"total_usage": 100}, "system_cpu_usage": 1000},
        "memory_stats": {"usage": 3 << 20, "limit": 4 << 20, "stats": {"inactive_file": 1 << 20}},
        "networks": {"eth0": {"rx_bytes": 1000, "tx_bytes": 0}, "eth1": {"rx_bytes": 360}},
        "blkio_stats": {"io_service_bytes_recursive": [{"op": "read", "value": 4096}]},
        "pids_stats": {"current": 3},
    }
    values = UsageRecord("web", sample, truncate=True).to_json()
    assert values == {
        "BlockIO": "4.1kB / 0B",
        "CPUPerc": "40.00%",
        "Container": "web",
        "ID": "0123456789ab",
        "MemPerc": "50.00%",
        "MemUsage": "2MiB / 4MiB",
        "Name": "web",
        "NetIO": "1.36kB / 0B",
        "PIDs": "3",
    }
    assert UsageRecord("web", None, truncate=True).field("MemUsage") == "-- / --"
    assert UsageRecord("web", {}, truncate=True).field("CPUPerc") == "--"


def test_disk_usage() -> None:
    rows = usage_rows(
        {
            "LayersSize": 3000,
            "Images": [{"Size": 1000, "SharedSize": 0, "Containers": 1}, {"Size": 2000}],
            "Containers": [{"State": "running", "SizeRw": 5}, {"State": "exited", "SizeRw": 7}],
            "Volumes": [{"UsageData": {"Size": 9, "RefCount": 0}}, {"UsageData": None}],
        }
    )
    assert [(row.field("Active"), row.field("Reclaimable")) for row in rows] == [
        ("1", "2kB (66%)"),
        ("1", "7B (58%)"),
        ("0", "9B (100%)"),
        ("0", "0B"),
    ]
    assert usage_rows({})[0].field("Size") == "0B"


def test_ellipsis() -> None:
    assert ellipsis("abc", 3) == "abc" and ellipsis("abcd", 3) == "ab…"

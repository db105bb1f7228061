"""`carrick flannel`, against a daemon that is not one."""

import json
from pathlib import Path
from typing import Any

from fake_daemon import FakeDaemon, Reply

LENT = {
    "NetworkID": "c" * 64,
    "Network": "apps",
    "Bridge": "docker0",
    "File": "/run/flannel/subnet.env",
    "Subnet": "10.5.7.0/24",
    "IPv6Subnet": "",
    "MTU": 1450,
    "IPMasq": True,
    "Env": "FLANNEL_SUBNET=10.5.7.1/24\n",
    "DockerOptions": ["--bip=10.5.7.1/24", "--mtu=1450"],
    "DockerEnv": 'DOCKER_OPTS=" --bip=10.5.7.1/24 "\n',
    "Problem": "",
}


def test_lent(cli: Any, daemon: FakeDaemon) -> None:
    daemon.on("POST /carrick/v1/lent/apps", LENT)
    assert cli("flannel", "env", "apps").out == "--bip=10.5.7.1/24 --mtu=1450\n"
    assert cli("flannel", "env", "apps", "--format", "env").out == LENT["Env"]
    assert cli("flannel", "env", "apps", "--format", "systemd").out == LENT["DockerEnv"]
    cli("flannel", "env", "apps", "--bridge", "br9", "--file", "sub.env")
    sent = json.loads(daemon.requests[-1].body)
    assert sent == {"Bridge": "br9", "File": str(Path("sub.env").absolute())}
    assert cli("flannel", "env", "apps", "--format", "toml").code == 2


def test_listed_and_given_back(cli: Any, daemon: FakeDaemon) -> None:
    daemon.on("GET /carrick/v1/lent", [LENT])
    daemon.on("DELETE /carrick/v1/lent/apps", Reply(status=204))
    line = cli("flannel", "ls").out.splitlines()[1]
    for word in ("apps", "docker0", "10.5.7.0/24", "1450"):
        assert word in line
    assert cli("flannel", "ls", "--format", "{{.IPMasq}} {{.Options}}").out.startswith("true --bip")
    assert cli("flannel", "release", "apps").out == "apps\n"


def test_a_network_from_a_file(cli: Any, daemon: FakeDaemon, tmp_path: Path) -> None:
    answer = {
        "Id": "",
        "Name": "apps",
        "Driver": "routed",
        "Subnets": ["10.5.0.0/16", "fd05::/56"],
        "Options": {"backend": "extension", "carrick.flannel.subnet-add-command": "ip route add $SUBNET"},
        "Notes": ["GBP is not used"],
    }
    daemon.on("POST /carrick/v1/networks/flannel", answer)
    file = tmp_path / "net-conf.json"
    file.write_text("{}")
    done = cli("flannel", "import", str(file), "--network", "apps", "--dry-run")
    assert done.out == (
        "carrick network create -d routed --ipv6 --subnet 10.5.0.0/16 --subnet fd05::/56"
        " -o backend=extension -o 'carrick.flannel.subnet-add-command=ip route add $SUBNET' apps\n"
    )
    assert "note: GBP is not used" in done.err
    sent = json.loads(daemon.requests[-1].body)
    assert sent == {"Name": "apps", "Config": "{}", "IPMasq": True, "DryRun": True}
    assert "--network" in cli("flannel", "import", str(file)).err
    assert cli("flannel", "import", str(tmp_path / "none"), "--network", "apps").code == 2

"""Testcontainers for Python, which starts what a test needs and takes it away again.

It runs on the daemon's own machine, where the ports are that it connects to. Without its reaper, Ryuk,
which is an image from the Internet.
"""

import sys
from pathlib import Path

from carrick.testing.daemon import Daemon
from carrick.testing.inventory import settle

_TEST = """
import sys
import urllib.request
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import (
    CompositeWaitStrategy, FileExistsWaitStrategy, HealthcheckWaitStrategy, HttpWaitStrategy,
    LogMessageWaitStrategy, PortWaitStrategy,
)
from testcontainers.core.waiting_utils import wait_for_logs

directory = sys.argv[1]

def fetch(container, port):
    url = f"http://{container.get_container_host_ip()}:{container.get_exposed_port(port)}/"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode().strip()

serve = ["sh", "-c", "echo $WORD >/var/www/index.html; echo ready; exec httpd -f -h /var/www"]
with Network() as network:
    web = (
        DockerContainer("busybox").with_command(serve).with_exposed_ports(80).with_env("WORD", "hello")
        .with_network(network).with_network_aliases("web", "www").with_kwargs(stop_signal="KILL")
        .with_volume_mapping(directory, "/given", "ro")
        .waiting_for(CompositeWaitStrategy(
            LogMessageWaitStrategy("ready"), PortWaitStrategy(80), HttpWaitStrategy(80),
            FileExistsWaitStrategy(directory + "/file")))
    )
    with web:
        assert web.status == "running", web.status
        assert fetch(web, 80) == "hello"
        assert web.get_logs() == (b"ready\\n", b""), web.get_logs()
        assert web.exec("cat /given/file").output == b"from the test\\n"
        assert web.exec(["sh", "-c", "exit 3"]).exit_code == 3
        web.copy_into_container(b"copied", "/tmp/copied")
        assert web.exec("cat /tmp/copied").output == b"copied"
        asking = ["sh", "-c", "wget -qO- http://web/ http://www/; echo done; sleep 1d"]
        with (
            DockerContainer("busybox").with_command(asking).with_network(network)
            .with_kwargs(stop_signal="KILL") as client
        ):
            wait_for_logs(client, "done", timeout=60)
            assert client.get_logs()[0] == b"hello\\nhello\\ndone\\n", client.get_logs()
    healthy = {"test": ["CMD", "true"], "interval": 200_000_000}
    with (
        DockerContainer("busybox").with_command("sleep 1d").with_bind_ports(81, 8081)
        .with_kwargs(healthcheck=healthy, stop_signal="KILL")
        .waiting_for(HealthcheckWaitStrategy()) as checked
    ):
        assert str(checked.get_exposed_port(81)) == "8081"
print("all of it")
"""


def test_what_a_test_starts_and_leaves(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the test\n")
    (tmp_path / "home").mkdir()
    told = daemon.machine.run(
        *(sys.executable, "-c", _TEST, str(tmp_path)),
        environment={
            **daemon.environment,
            "HOME": str(tmp_path / "home"),
            "TESTCONTAINERS_RYUK_DISABLED": "true",
            "TC_POOLING_INTERVAL": "0.1",
        },
    )
    assert told.code == 0 and told.out.endswith("all of it\n"), f"{told}\n{daemon.log_text()[-3000:]}"
    assert daemon.api.get("/containers/json?all=1").json == []
    assert {item["Name"] for item in daemon.api.get("/networks").json} == {"bridge", "host", "none"}
    assert not settle(daemon)

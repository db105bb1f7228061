"""What is shown per peer by whatever transport, and names that prefer this host."""

import time

import pytest

from carrick.testing.boxes import Box, box
from carrick.testing.daemon import eventually
from carrick.testing.lab import LabHost, TempLab

PAYLOAD = 1000
COUNT = 50


def sums(host: LabHost) -> dict[str, tuple[int, int]]:
    """Return the bytes sent to and received from each peer, by its name."""
    peers = host.api.get("/carrick/v1/peers").json
    return {peer["Name"]: (peer["BytesSent"], peer["BytesReceived"]) for peer in peers}


def talk(source: Box, target: Box) -> None:
    command = ("ping", "-q", "-c", str(COUNT), "-i", "0.01", "-s", str(PAYLOAD), target.ip())
    eventually(lambda: "bytes from" in source.run("ping", "-c", "1", target.ip()).out, 30)
    source.run(*command)


@pytest.mark.parametrize(
    "kind",
    [
        ("-d", "overlay"),
        ("-d", "routed"),
        ("-d", "routed", "--opt", "backend=direct", "--opt", "carrick.routed.count=true"),
        ("-d", "routed", "--opt", "cross-subnet=true", "--opt", "carrick.routed.count=true"),
    ],
    ids=["overlay", "routed", "direct", "cross-subnet"],
)
def test_bytes_are_shown_whatever_the_transport(cluster: TempLab, kind: tuple[str, ...]) -> None:
    # The first and the third stand in one segment.
    first, second, third = cluster.hosts
    first.carrick("network", "create", *kind, "--subnet", "10.30.0.0/16", "blue")
    one, three = box(first, "one", "blue"), box(third, "three", "blue")
    before, theirs = sums(first), sums(third)
    talk(one, three)
    after, they = sums(first), sums(third)
    least = COUNT * (PAYLOAD + 28)
    for way in (0, 1):
        assert least <= after[third.name][way] - before[third.name][way] < 2 * least
        assert least <= they[first.name][way] - theirs[first.name][way] < 2 * least
        # Nothing is said to the one that has no part in it, but for what concerns all.
        assert after[second.name][way] - before[second.name][way] < least / 2
    # Whoever deletes the tables does not make them jump backwards: they are put again, and go on.
    first.run("nft", "delete", "table", "inet", "carrick")
    eventually(lambda: "sent4" in first.run("nft", "list", "sets").out, 60)
    last = sums(first)
    assert all(last[name][way] >= after[name][way] for name in after for way in (0, 1))
    talk(one, three)
    eventually(
        lambda: all(sums(first)[third.name][way] >= last[third.name][way] + least for way in (0, 1)), 10
    )


def test_plain_routes_are_uncounted_unless_asked_for(cluster: TempLab) -> None:
    first, _, third = cluster.hosts
    first.carrick("network", "create", "-d", "routed", "--opt", "backend=direct", "blue")
    one, three = box(first, "one", "blue"), box(third, "three", "blue")
    talk(one, three)
    peers = {peer["Name"]: peer["BytesSent"] for peer in first.api.get("/carrick/v1/peers").json}
    assert peers[third.name] is None
    assert "n/a" in first.carrick("peer", "ls", "--format", "{{.Name}} {{.Sent}} {{.Received}}")
    done = first.run(
        "carrick", "network", "create", "-d", "routed", "--opt", "carrick.routed.count=much", "green"
    )
    assert "carrick.routed.count: much is neither true nor false" in done.err


def looked_up(asking: Box, name: str) -> list[str]:
    """Return the addresses that `nslookup` prints, in their order, without the server's own."""
    lines = asking.run("nslookup", "-type=a", name).out.splitlines()
    found = [line.split()[-1] for line in lines if line.startswith("Address")]
    return [address for address in found if not address.startswith("127.")]


@pytest.mark.parametrize(("wish", "kind"), [("true", "overlay"), ("only", "routed")])
def test_names_prefer_this_host_where_asked(cluster: TempLab, wish: str, kind: str) -> None:
    first, second, _ = cluster.hosts
    options = ("--opt", f"carrick.dns.local_first={wish}")
    first.carrick("network", "create", "-d", kind, "--subnet", "10.31.0.0/16", *options, "blue")
    webs = [
        box(host, f"web{number}", "blue", "--network-alias", "web")
        for number, host in enumerate((first, second), 1)
    ]
    asking = [box(host, f"ask{number}", "blue") for number, host in enumerate((first, second), 1)]
    expected = [[web.ip()] for web in webs]
    if wish == "true":
        expected = [[webs[0].ip(), webs[1].ip()], [webs[1].ip(), webs[0].ip()]]
    for source, answer in zip(asking, expected, strict=True):
        if wish == "true":
            eventually(lambda source=source: len(looked_up(source, "web")) == 2, 30)  # type: ignore[misc]
        for _ in range(4):
            assert looked_up(source, "web") == answer
    left = webs[1].ip()
    begun = time.monotonic()
    first.carrick("stop", "web1")
    eventually(lambda: looked_up(asking[0], "web") == [left], 30)
    assert looked_up(asking[1], "web")[0] == left
    assert time.monotonic() - begun < 30


def test_another_wish_is_refused(cluster: TempLab) -> None:
    first = cluster.hosts[0]
    done = first.run(
        "carrick", "network", "create", "-d", "overlay", "--opt", "carrick.dns.local_first=yes", "blue"
    )
    assert done.code != 0
    assert "carrick.dns.local_first: 'yes' is none of false, true, only" in done.err

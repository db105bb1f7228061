"""What is held by whom. Real sockets, on an address of 127/8 that each test draws for itself."""

import random
import socket
from collections.abc import Iterator

import pytest

from carrick.host.portholder.contract import HeldPort, PortTaken
from carrick.host.portholder.descriptors import Descriptors
from carrick.host.portholder.holdings import Holdings
from carrick.host.resolver.reactor import Reactor
from carrick.model.errors import CarrickError, Failed, InvalidRequest, Unavailable


class Bench:
    def __init__(self, limit: int = 1000) -> None:
        draw = random.SystemRandom()
        self.ip = f"127.{draw.randrange(1, 255)}.{draw.randrange(256)}.{draw.randrange(1, 255)}"
        self.reactor = Reactor()
        self.descriptors = Descriptors(limit)
        self.changes = 0
        self.holdings = Holdings(
            self.reactor, self.descriptors, changed=self._count, find_holder=lambda _: "somebody"
        )

    def _count(self) -> None:
        self.changes += 1

    def port(self, number: int, relay_to: tuple[str, int] | None = None, *, udp: bool = False) -> HeldPort:
        return HeldPort("udp" if udp else "tcp", self.ip, number, relay_to)

    def is_free(self, port: HeldPort) -> bool:
        kind = socket.SOCK_DGRAM if port.protocol == "udp" else socket.SOCK_STREAM
        with socket.socket(socket.AF_INET, kind) as sock:
            try:
                sock.bind((port.host_ip, port.host_port))
            except OSError:
                return False
        return True


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.holdings.close()
    made.reactor.close()
    assert made.descriptors.used == 0


def test_hold_binds_and_release_frees(bench: Bench) -> None:
    ports = [bench.port(8080), bench.port(8080, udp=True)]
    bench.holdings.hold("a", ports)
    assert not any(map(bench.is_free, ports))
    assert bench.holdings.wanted() == {"a": tuple(ports)}
    bench.holdings.release("a", ports[:1])
    assert [bench.is_free(port) for port in ports] == [True, False]
    bench.holdings.release("a")
    bench.holdings.release("a")
    bench.holdings.release("nobody", ports)
    assert all(map(bench.is_free, ports))
    assert bench.holdings.wanted() == {}


def test_the_same_again_is_no_change(bench: Bench) -> None:
    bench.holdings.hold("a", [bench.port(8080)])
    bench.holdings.hold("a", [bench.port(8080)])
    assert bench.changes == 1


def test_all_or_nothing(bench: Bench) -> None:
    bench.holdings.hold("a", [bench.port(8080)])
    with pytest.raises(PortTaken) as caught:
        bench.holdings.hold("b", [bench.port(8081), bench.port(8082, ("127.0.0.1", 9)), bench.port(8080)])
    assert (caught.value.held, caught.value.owner) == (bench.port(8080), "a")
    assert bench.is_free(bench.port(8081))
    assert bench.is_free(bench.port(8082))
    assert bench.changes == 1


def test_a_refused_hold_takes_back_a_new_target(bench: Bench) -> None:
    before = bench.port(8080, ("127.0.0.1", 9))
    bench.holdings.hold("a", [before, bench.port(8081)])
    bench.holdings.hold("b", [bench.port(8082)])
    with pytest.raises(PortTaken):
        bench.holdings.hold("a", [bench.port(8080), bench.port(8081, ("127.0.0.1", 9)), bench.port(8082)])
    assert bench.holdings.wanted()["a"] == (before, bench.port(8081))
    with socket.create_connection((bench.ip, 8080)):  # still listens
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((bench.ip, 8081))


def test_a_program_in_the_way_is_named(bench: Bench) -> None:
    with socket.create_server((bench.ip, 8080)), pytest.raises(PortTaken) as caught:
        bench.holdings.hold("a", [bench.port(8080)])
    assert (caught.value.holder, caught.value.owner) == ("somebody", "")


def test_targets_come_and_go_in_place(bench: Bench) -> None:
    for udp in (False, True):
        for target in (None, ("127.0.0.1", 9), ("127.0.0.1", 10), None, ("127.0.0.1", 9)):
            port = bench.port(8080, target, udp=udp)
            bench.holdings.hold("a", [port])
            assert port in bench.holdings.wanted()["a"]
            assert not bench.is_free(port)


def test_reserved_ports_refuse_and_drop(bench: Bench) -> None:
    bench.holdings.hold("a", [bench.port(8080), bench.port(8080, udp=True)])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((bench.ip, 8080))


@pytest.mark.parametrize("reuse", [(), (socket.SO_REUSEADDR,), (socket.SO_REUSEPORT,)])
@pytest.mark.parametrize("udp", [False, True])
@pytest.mark.parametrize("target", [None, ("127.0.0.1", 9)])
def test_nobody_binds_beside_us(
    bench: Bench, reuse: tuple[int, ...], udp: bool, target: tuple[str, int] | None
) -> None:
    bench.holdings.hold("a", [bench.port(8080, target, udp=udp)])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as sock:
        for option in reuse:
            sock.setsockopt(socket.SOL_SOCKET, option, 1)
        with pytest.raises(OSError, match="in use"):
            sock.bind((bench.ip, 8080))


def test_time_wait_is_not_in_the_way(bench: Bench) -> None:
    with socket.create_server((bench.ip, 8080)) as server, socket.create_connection((bench.ip, 8080)):
        server.accept()[0].close()  # closes first, and so is the one that waits
    bench.holdings.hold("a", [bench.port(8080)])


def test_wrong_requests(bench: Bench) -> None:
    for error, port in (
        (Failed, HeldPort("tcp", "192.0.2.7", 80)),
        (InvalidRequest, HeldPort("tcp", "nonsense", 80)),
    ):
        with pytest.raises(error):
            bench.holdings.hold("a", [bench.port(8080), port])
    assert bench.holdings.wanted() == {}


def test_descriptors_run_out_clearly() -> None:
    bench = Bench(limit=96 + 16)
    with pytest.raises(Unavailable, match="all 16 descriptors") as caught:
        bench.holdings.hold("a", [bench.port(number) for number in range(8000, 8017)])
    assert "LimitNOFILE" in (caught.value.remedy or "")
    assert bench.descriptors.used == 0
    bench.holdings.hold("a", [bench.port(number) for number in range(8000, 8016)])
    bench.holdings.close()
    bench.reactor.close()


def test_sctp_without_a_kernel_is_a_list(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carrick.host.portholder.holdings.has_sctp", lambda: False)
    bench.holdings.hold("a", [HeldPort("sctp", "0.0.0.0", 80)])
    with pytest.raises(PortTaken) as caught:
        bench.holdings.hold("b", [HeldPort("sctp", "127.0.0.1", 80)])
    assert caught.value.owner == "a"


def test_sync_makes_it_exactly_so(bench: Bench) -> None:
    holdings = bench.holdings
    holdings.hold("a", [bench.port(8080), bench.port(8081)])
    holdings.hold("b", [bench.port(8082)])
    wanted = {"b": (bench.port(8082), bench.port(8080, ("127.0.0.1", 9))), "c": (bench.port(8083),)}
    assert holdings.sync(wanted) == {}
    assert {owner: set(ports) for owner, ports in holdings.wanted().items()} == {
        owner: set(ports) for owner, ports in wanted.items()
    }
    assert bench.is_free(bench.port(8081))
    assert holdings.sync({}) == {}
    assert bench.is_free(bench.port(8080))


def test_sync_says_what_it_could_not_and_tries_again(bench: Bench) -> None:
    with socket.create_server((bench.ip, 8080)):
        problems = bench.holdings.sync(
            {
                "a": (bench.port(8080), bench.port(8081)),
                "b": (bench.port(8081),),
                "c": (HeldPort("tcp", "?", 1),),
            }
        )
        assert sorted(problems) == ["a", "b", "c"]
        assert "somebody" in problems["a"]
        assert not bench.is_free(bench.port(8081))
        bench.holdings.retry()
    assert bench.port(8080) in bench.holdings.wanted()["a"]  # wanted, and kept on disk, though not held
    bench.holdings.retry()
    assert not bench.is_free(bench.port(8080))
    bench.holdings.release("a")
    bench.holdings.retry()
    assert not bench.is_free(bench.port(8081))  # now b's
    bench.holdings.release("b")
    assert bench.holdings.wanted() == {}


def test_random_requests_keep_the_books_straight(bench: Bench) -> None:
    """Compare with a dictionary that knows the rules: what is held is bound, nothing else is."""
    draw = random.Random(2)
    model: dict[int, str] = {}
    for _ in range(300):
        owner = draw.choice("abc")
        numbers = draw.sample(range(9000, 9010), draw.randrange(1, 4))
        if draw.random() < 0.6:
            targets = [draw.choice([None, ("127.0.0.1", 9)]) for _ in numbers]
            ports = [bench.port(number, target) for number, target in zip(numbers, targets, strict=True)]
            is_allowed = all(model.get(number, owner) == owner for number in numbers)
            try:
                bench.holdings.hold(owner, ports)
            except CarrickError:
                assert not is_allowed
            else:
                assert is_allowed
                model.update(dict.fromkeys(numbers, owner))
        else:
            bench.holdings.release(owner, [bench.port(number) for number in numbers])
            for number in numbers:
                if model.get(number) == owner:
                    del model[number]
        held = {port.host_port: owner for owner, ports in bench.holdings.wanted().items() for port in ports}
        assert held == model
        assert bench.descriptors.used == len(model)
    assert [number for number in range(9000, 9010) if not bench.is_free(bench.port(number))] == sorted(model)


def test_a_range_in_the_way_is_told_briefly(bench: Bench) -> None:
    ports = [bench.port(number) for number in range(8000, 8010)]
    bench.holdings.hold("a", ports)
    problems = bench.holdings.sync({"a": ports, "b": ports})
    assert problems["b"].count("already allocated") == 3
    assert problems["b"].endswith("; and 7 more ports")
    bench.holdings.release("b", [bench.port(8000)])
    assert len(bench.holdings.wanted()["b"]) == 9


def test_addresses_mean_the_same_however_written(bench: Bench) -> None:
    # Not a socket: there is one ::1 only, and it belongs to everybody.
    wanted = {"a": [HeldPort("tcp", "2001:DB8:0::1", 80)]}
    assert "cannot assign" in bench.holdings.sync(wanted)["a"]
    assert bench.holdings.wanted() == {"a": (HeldPort("tcp", "2001:db8::1", 80),)}
    bench.holdings.release("a", [HeldPort("tcp", "2001:db8:0:0::1", 80)])
    assert bench.holdings.wanted() == {}

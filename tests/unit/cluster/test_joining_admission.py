"""Tokens and who is let in, over a store in memory in a time of its own."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from carrick.engine.cluster.admission import (
    Gatekeeper,
    Reservation,
    check_token,
    dissolve,
    make_token,
    reservations,
)
from carrick.engine.cluster.joining import new_node_id
from carrick.engine.cluster.records import META, ClusterRecords
from carrick.engine.cluster.values import Admission
from carrick.host.pki import Authority, JoinToken, hash_secret, make_request
from carrick.host.store.contract import OutcomeUnknown, Put
from carrick.model.cluster import ClusterMeta, NodeId, NodeRecord, NodeState
from carrick.model.errors import Conflict, Denied, InvalidRequest, Unavailable
from carrick.testing.fake_clock import FakeClock
from carrick.testing.memory_store import MemoryStore


class Gate:
    """A gatekeeper, its store, and nodes that want in."""

    def __init__(self, directory: Path) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(clock=self.clock.monotonic)
        self.records = ClusterRecords(self.store)
        self.authority = Authority.create("c")
        self.keeper = Gatekeeper(self.authority, sleep=self._sleep)
        self._directory = directory

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)

    async def token(self, ttl_s: float = 60, uses: int = 0) -> JoinToken:
        return JoinToken.parse(await make_token(self.records, self.clock, self.authority.sha256, ttl_s, uses))

    def request(self, secret: str, name: str = "n", node: str = "") -> Admission:
        identity = NodeId(node or new_node_id())
        csr = make_request(self._directory / identity, identity).decode()
        return Admission(secret, identity, name, ("192.0.2.1",), csr)

    async def admit(self, request: Admission) -> bytes:
        return await self.keeper.admit(self.records, request)

    async def uses_left(self, token: JoinToken) -> int | None:
        found = await self.records.tokens.get(hash_secret(token.secret))
        return found.value.uses_left if found else None


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


async def test_a_token_lets_in_and_only_its_hash_is_kept(gate: Gate) -> None:
    token = await gate.token()
    assert (await gate.admit(gate.request(token.secret))).startswith(b"-----BEGIN CERTIFICATE")
    everything = (await gate.store.list("")).entries
    assert not any(token.secret.encode() in item.value or token.secret in item.key for item in everything)


async def test_it_ends_with_its_time(gate: Gate) -> None:
    token = await gate.token(ttl_s=60)
    await gate.clock.advance(59)
    await gate.admit(gate.request(token.secret, "a"))
    await gate.clock.advance(2)
    with pytest.raises(Denied, match=r"^wrong or expired token$"):
        await gate.admit(gate.request(token.secret, "b"))


async def test_a_use_does_not_give_it_more_time(gate: Gate) -> None:
    token = await gate.token(ttl_s=60, uses=5)
    await gate.clock.advance(30)
    await gate.admit(gate.request(token.secret, "a"))
    await gate.clock.advance(31)
    assert await gate.uses_left(token) is None


async def test_uses_are_counted_even_if_all_come_at_once(gate: Gate) -> None:
    token = await gate.token(uses=3)
    requests = [gate.request(token.secret, f"n{number}") for number in range(8)]
    results = await asyncio.gather(*map(gate.admit, requests), return_exceptions=True)
    assert sum(isinstance(item, bytes) for item in results) == 3
    assert sum(isinstance(item, Denied) for item in results) == 5
    assert await gate.uses_left(token) is None


async def test_a_name_is_given_once_even_if_all_come_at_once(gate: Gate) -> None:
    token = await gate.token()
    results = await asyncio.gather(
        *(gate.admit(gate.request(token.secret, "debian")) for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(item, bytes) for item in results) == 1
    assert sum(isinstance(item, Conflict) for item in results) == 4


async def test_the_same_node_may_ask_again_for_what_it_has_paid(gate: Gate) -> None:
    token = await gate.token(uses=1)
    request = gate.request(token.secret)
    await gate.admit(request)
    assert await gate.uses_left(token) is None
    await gate.admit(request)
    with pytest.raises(Denied):
        await gate.admit(replace(request, node=new_node_id()))
    with pytest.raises(Denied):
        await gate.admit(replace(request, secret="x" * 32))
    await gate.clock.advance(31)
    with pytest.raises(Denied):
        await gate.admit(request)


async def test_names_and_ids_of_nodes_are_taken(gate: Gate) -> None:
    token = await gate.token(uses=9)
    there = NodeRecord(new_node_id(), "alpha", 1, ())
    gone = NodeRecord(new_node_id(), "beta", 1, (), state=NodeState.GONE)
    for record in (there, gone):
        await gate.records.nodes.put(record.id, record, expecting=0)
    with pytest.raises(Conflict, match="named alpha") as taken:
        await gate.admit(gate.request(token.secret, "alpha"))
    assert "--name" in (taken.value.remedy or "") and "node rm alpha" in (taken.value.remedy or "")
    with pytest.raises(Conflict, match=there.id):
        await gate.admit(gate.request(token.secret, "gamma", there.id))
    assert await gate.uses_left(token) == 9
    await gate.admit(gate.request(token.secret, "beta"))


async def test_without_a_token_nothing_is_told_of_names(gate: Gate) -> None:
    record = NodeRecord(new_node_id(), "alpha", 1, ())
    await gate.records.nodes.put(record.id, record, expecting=0)
    with pytest.raises(Denied):
        await gate.admit(gate.request("y" * 32, "alpha"))


@pytest.mark.parametrize(
    "change",
    [
        {"node": NodeId("short")},
        {"node": NodeId("A" * 26)},
        {"node": NodeId("../../meta/cluster")},
        {"name": ""},
        {"name": "a/b"},
        {"name": "x" * 64},
        {"name": "a\nb"},
        {"certificate_request": "nonsense"},
        {"certificate_request": "x" * 20_000},
        {"addresses": ("1",) * 17},
        {"addresses": ("1" * 65,)},
    ],
)
async def test_malformed_requests_use_nothing_up(gate: Gate, change: dict[str, object]) -> None:
    token = await gate.token(uses=1)
    with pytest.raises(InvalidRequest) as refused:
        await gate.admit(replace(gate.request(token.secret), **change))  # type: ignore[arg-type]
    assert token.secret not in str(refused.value) and await gate.uses_left(token) == 1


async def test_the_certificate_names_the_node_and_no_address(gate: Gate) -> None:
    from cryptography import x509

    token = await gate.token()
    request = gate.request(token.secret)
    certificate = x509.load_pem_x509_certificate(await gate.admit(request))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"node:{request.node}"]
    assert names.get_values_for_type(x509.DNSName) == [request.node]
    assert names.get_values_for_type(x509.IPAddress) == []


@pytest.mark.parametrize(("ttl_s", "uses"), [(0, 0), (-1, 0), (1e9, 0), (60, -1), (60, 10**6)])
async def test_tokens_have_bounds(gate: Gate, ttl_s: float, uses: int) -> None:
    with pytest.raises(InvalidRequest):
        await gate.token(ttl_s, uses)


@pytest.mark.parametrize("made", [True, False])
async def test_an_answer_of_the_store_that_is_lost(gate: Gate, made: bool) -> None:
    token = await gate.token(uses=2)
    commit, lost = gate.store.commit, []

    async def losing(changes: object, conditions: object = ()) -> int:
        if lost or not conditions:
            return await commit(changes, conditions)  # type: ignore[arg-type]
        lost.append(1)
        if made:
            await commit(changes, conditions)  # type: ignore[arg-type]
        raise OutcomeUnknown("etcd", "gone")

    gate.store.commit = losing  # type: ignore[method-assign, assignment]
    request = gate.request(token.secret)
    await gate.admit(request)
    assert lost and await gate.uses_left(token) == 1
    found = await reservations(gate.records).get("n")
    assert found and found.value == Reservation(request.node, hash_secret(token.secret))


async def test_a_store_that_is_away(gate: Gate) -> None:
    token = await gate.token()
    await gate.store.aclose()
    with pytest.raises(Unavailable):
        await gate.admit(gate.request(token.secret))


async def test_a_cluster_without_nodes_can_be_dissolved(gate: Gate) -> None:
    await gate.records.meta.put(META, ClusterMeta("c", "", 0), expecting=0)
    token = await gate.token()
    request = gate.request(token.secret)
    await gate.admit(request)
    assert not await dissolve(gate.records)  # somebody is on the way
    await gate.records.nodes.put(request.node, NodeRecord(request.node, "n", 1, ()), expecting=0)
    await gate.clock.advance(31)
    assert not await dissolve(gate.records)
    await gate.records.nodes.delete(request.node, expecting=None)
    await gate.store.commit([Put("vnis/7", b"x")])
    assert await dissolve(gate.records)
    assert (await gate.store.list("")).entries == ()
    assert not await dissolve(gate.records)


async def test_a_token_is_looked_at_before_it_is_passed_on(gate: Gate) -> None:
    token = await gate.token(uses=1)
    request = gate.request(token.secret)
    await check_token(gate.records, request)
    await gate.admit(request)
    await check_token(gate.records, request)
    for other in (replace(request, node=new_node_id()), replace(request, secret="z" * 32)):
        with pytest.raises(Denied):
            await check_token(gate.records, other)

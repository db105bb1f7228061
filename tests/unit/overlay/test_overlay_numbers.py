"""A network's MTU and its VNI."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.domains.overlay.mtu import OVERHEAD, PeerPath, network_mtu, overhead
from carrick.domains.overlay.vni import FIRST_VNI, LAST_VNI, check_vni, choose_vni
from carrick.model.errors import Conflict, InvalidRequest, Unavailable


def test_what_each_transport_costs() -> None:
    assert {name: (overhead(name, 4), overhead(name, 6)) for name in OVERHEAD} == {
        "direct": (0, 0),
        "extension": (0, 0),
        "vxlan": (50, 70),
        "wireguard": (60, 80),
    }
    with pytest.raises(InvalidRequest, match="no transport 'pigeon' over IPv4; there are direct, extension"):
        overhead("pigeon", 4)


def test_the_narrowest_path_decides() -> None:
    paths = [
        PeerPath("a", "vxlan", 4, 1500),
        PeerPath("b", "direct", 4, 1500),
        PeerPath("c", "wireguard", 6, 1500),
        PeerPath("d", "vxlan", 4, 9000),
    ]
    assert [path.mtu for path in paths] == [1450, 1500, 1420, 8950]
    assert network_mtu(paths, 1500) == 1420
    assert network_mtu(reversed(paths), 1500) == 1420
    assert network_mtu((), 1450) == 1450


def test_too_narrow_a_path_is_named() -> None:
    paths = [PeerPath("a", "vxlan", 4, 1500), PeerPath("b", "vxlan", 6, 1300)]
    assert network_mtu(paths, 1500) == 1230
    with pytest.raises(InvalidRequest, match=r"path to b \(vxlan\).*MTU of 1230.*IPv6 needs 1280") as caught:
        network_mtu(paths, 1500, ipv6=True)
    assert caught.value.remedy
    with pytest.raises(InvalidRequest, match="the underlay leaves an MTU of 20"):
        network_mtu((), 20)


@given(st.sets(st.integers(1, 40)), st.integers(1, 20))
def test_the_lowest_free_vni(taken: set[int], first: int) -> None:
    free = [vni for vni in range(first, 31) if vni not in taken]
    if free:
        assert choose_vni(taken, first=first, last=30) == free[0]
    else:
        with pytest.raises(Unavailable, match="is taken"):
            choose_vni(taken, first=first, last=30)


def test_vnis() -> None:
    assert choose_vni(set()) == FIRST_VNI
    assert choose_vni(set(range(FIRST_VNI, FIRST_VNI + 100))) == FIRST_VNI + 100
    with pytest.raises(Unavailable):
        choose_vni({LAST_VNI}, first=LAST_VNI)
    assert check_vni(7, {8}) == 7
    for wrong in (0, -1, LAST_VNI + 1):
        with pytest.raises(InvalidRequest, match="is not between 1 and 16777215"):
            check_vni(wrong, set())
    with pytest.raises(Conflict):
        check_vni(7, {7})

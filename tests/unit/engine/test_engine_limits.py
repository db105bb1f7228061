"""Limits that this host cannot keep, and options that nothing here understands."""

import pytest

from carrick.engine.limits import check_limits, check_resources
from carrick.model.containers import HostConfig, LogConfig, Resources
from carrick.model.errors import InvalidRequest


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Resources(nano_cpus=10**15), "Range of CPUs is from 0.01 to"),
        (Resources(nano_cpus=-1), "Range of CPUs is from 0.01 to"),
        (Resources(memory_reservation=1000), "Minimum memory reservation allowed is 6MB"),
        (Resources(memory=2**25, memory_reservation=2**26), "can not be less than memory reservation"),
        (
            Resources(cpuset_cpus="nonsense"),
            "Invalid value nonsense for cpuset cpus: invalid format: nonsense",
        ),
        (Resources(cpuset_cpus="1-"), "Invalid value 1- for cpuset cpus"),
        (
            Resources(cpuset_cpus="0-9999"),
            "Requested CPUs are not available - requested 0-9999, available: 0",
        ),
        (Resources(cpuset_mems="500"), "Requested memory nodes are not available - requested 500"),
    ],
)
def test_limits_that_are_none_here_are_refused(limits: Resources, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        check_resources(limits)


def test_limits_that_can_be_kept_pass() -> None:
    check_resources(Resources(nano_cpus=10**9, cpuset_cpus="0", memory=2**26, memory_reservation=2**25))


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (
            HostConfig(log_config=LogConfig("nonsense")),
            'logging plugin nonsense: plugin "nonsense" not found',
        ),
        (
            HostConfig(log_config=LogConfig(options={"x": "1"})),
            "unknown log opt 'x' for json-file log driver",
        ),
        (HostConfig(security_opt=("nonsense",)), 'invalid --security-opt 1: "nonsense"'),
        (HostConfig(security_opt=("seccomp",)), 'invalid --security-opt 1: "seccomp"'),
        (HostConfig(security_opt=("nonsense=1",)), 'invalid --security-opt 1: "nonsense=1"'),
    ],
)
def test_options_nobody_understands_are_refused(host: HostConfig, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        check_limits(host)


def test_known_options_pass() -> None:
    check_limits(HostConfig(security_opt=("no-new-privileges", "seccomp=unconfined", "label:disable")))
    check_limits(HostConfig(log_config=LogConfig("none", options={"whatever": "1"})))

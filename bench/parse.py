"""Read what the load generators print. Pure; all raise BenchError on a text that they can't read."""

import json
import re
from dataclasses import dataclass

from .errors import BenchError


@dataclass(frozen=True, slots=True)
class LoopReport:
    """The line of `tcploop` and `dnsseq`."""

    count: int
    errors: int
    seconds: float
    p50_us: float
    p99_us: float

    @property
    def rate(self) -> float:
        """Successes per second."""
        return self.count / self.seconds


_LOOP = re.compile(r"count (\d+) errors (\d+) seconds ([\d.]+) p50_us ([\d.]+) p99_us ([\d.]+)")


def parse_loop(text: str) -> LoopReport:
    """Parse the line of `tcploop` or `dnsseq`. A run with errors, or without success, is no measurement."""
    match = _LOOP.search(text)
    if match is None:
        raise BenchError(f"no report in {_shorten(text)}")
    count, errors, seconds, p50, p99 = match.groups()
    report = LoopReport(int(count), int(errors), float(seconds), float(p50), float(p99))
    if report.errors or not report.count or not report.seconds:
        raise BenchError(f"{report.count} successes and {report.errors} errors in {report.seconds:.1f} s")
    return report


def parse_iperf3(text: str) -> float:
    """Return the receiver's Gbit/s from `iperf3 --json`."""
    try:
        document = json.loads(text)
        if "error" in document:
            raise BenchError(f"iperf3: {document['error']}")
        return float(document["end"]["sum_received"]["bits_per_second"]) / 1e9
    except (ValueError, KeyError, TypeError) as error:
        raise BenchError(f"iperf3 printed no result: {_shorten(text)}") from error


@dataclass(frozen=True, slots=True)
class NamesReport:
    """dnsperf's statistics. `lost` counts queries without an answer, `failed` answers other than NOERROR."""

    rate: float
    latency_ms: float
    lost: int
    failed: int


def parse_dnsperf(text: str) -> NamesReport:
    """Parse dnsperf's statistics."""
    rate = re.search(r"Queries per second:\s+([\d.]+)", text)
    latency = re.search(r"Average Latency \(s\):\s+([\d.]+)", text)
    lost = re.search(r"Queries lost:\s+(\d+)", text)
    completed = re.search(r"Queries completed:\s+(\d+)", text)
    codes = re.search(r"Response codes:\s+(.*)", text)
    if rate is None or latency is None or lost is None or completed is None:
        raise BenchError(f"dnsperf printed no statistics: {_shorten(text)}")
    good = re.search(r"NOERROR (\d+)", codes.group(1)) if codes else None
    failed = int(completed.group(1)) - (int(good.group(1)) if good else 0)
    return NamesReport(float(rate.group(1)), float(latency.group(1)) * 1000, int(lost.group(1)), failed)


def _shorten(text: str) -> str:
    return repr(text[-300:])

"""What the load generators print, as they print it."""

import json

import pytest

from bench.errors import BenchError
from bench.parse import parse_dnsperf, parse_iperf3, parse_loop
from bench.processes import parse_rollup

DNSPERF = """DNS Performance Testing Tool
Version 2.10.0

[Status] Command line: dnsperf -s 127.0.0.11 -d names -c 10 -q 100 -l 3
[Status] Sending queries (to 127.0.0.11:53)
[Status] Testing complete (time limit)

Statistics:

  Queries sent:         234712
  Queries completed:    234710 (100.00%)
  Queries lost:         2 (0.00%)

  Response codes:       NOERROR 234700 (100.00%), NXDOMAIN 10 (0.00%)
  Average packet size:  request 28, response 44
  Run time (s):         3.001034
  Queries per second:   78209.710386

  Average Latency (s):  0.001101 (min 0.000040, max 0.013216)
  Latency StdDev (s):   0.000402
"""


def test_loop_report_gives_rate_and_percentiles() -> None:
    report = parse_loop("noise\ncount 3000 errors 0 seconds 1.500000 p50_us 46.25 p99_us 80.00\n")
    assert (report.rate, report.p50_us, report.p99_us) == (2000, 46.25, 80)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "connect: refused",
        "count 100 errors 1 seconds 1.5 p50_us 4 p99_us 8",
        "count 0 errors 0 seconds 1.5 p50_us 0 p99_us 0",
    ],
)
def test_a_loop_with_errors_or_without_success_is_no_measurement(text: str) -> None:
    with pytest.raises(BenchError):
        parse_loop(text)


def test_iperf3_gives_what_the_receiver_got() -> None:
    end = {"sum_sent": {"bits_per_second": 9e9}, "sum_received": {"bits_per_second": 8.5e9}}
    assert parse_iperf3(json.dumps({"end": end})) == 8.5


@pytest.mark.parametrize("text", ["", "[]", '{"end": {}}', '{"error": "unable to connect"}'])
def test_iperf3_without_a_result(text: str) -> None:
    with pytest.raises(BenchError, match="iperf3"):
        parse_iperf3(text)


def test_dnsperf_counts_what_was_lost_and_what_was_no_answer() -> None:
    report = parse_dnsperf(DNSPERF)
    assert report.rate == pytest.approx(78209.71)
    assert report.latency_ms == pytest.approx(1.101)
    assert (report.lost, report.failed) == (2, 10)


def test_dnsperf_without_any_answer_failed_in_all() -> None:
    text = DNSPERF.replace("  Response codes:       NOERROR 234700 (100.00%), NXDOMAIN 10 (0.00%)\n", "")
    assert parse_dnsperf(text).failed == 234710


def test_dnsperf_that_could_not_start() -> None:
    with pytest.raises(BenchError, match="no statistics"):
        parse_dnsperf("Error: unable to open names")


def test_rollup_in_mib() -> None:
    text = (
        "55d0-7ffe ---p 00000000 00:00 0    [rollup]\nRss:     3072 kB\nPss:     1536 kB\nPss_Dirty: 0 kB\n"
    )
    sizes = parse_rollup(text)
    assert (sizes["Rss"], sizes["Pss"]) == (3.0, 1.5)

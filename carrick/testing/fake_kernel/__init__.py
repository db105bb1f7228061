"""A kernel in memory: namespaces, links, addresses, routes, sysctls and nft text, for tests without root.

It behaves as Linux does wherever a planner can see a difference, quirks included: a veth's ends and a
namespace's links go together; an address goes with the primary of its subnet; IPv6 addresses need IPv6
switched on and go when the link goes down, neighbours too; a route needs its link up and its gateway on the
link; an FDB's rows stay until they are removed. The suite
`tests/contract/test_kernel_contract.py` runs on it, and the same cases run on the real kernel.

`fail_at` and `killed_at` make it refuse, or make the daemon die, at a step of the test's choice.
"""

from .faults import Killed
from .kernel import FakeKernel

__all__ = ["FakeKernel", "Killed"]

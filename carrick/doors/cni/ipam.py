"""Delegated IPAM: run another plugin as the specification says (section 4, "Plugin Delegation").

It is given the whole configuration and environment, as they came, and its result has addresses and no
interfaces. Its errors are passed on with their codes.
"""

from ...domains.cni import parse_refusal
from ...host.cni import CniRunner
from ...model.errors import NotFound
from .errors import CniError, Code
from .request import Call, Command
from .result import parse_result
from .translate import Given, given_of
from .wire import Ipam

OWN = frozenset({"", "carrick"})
"""What `ipam.type` says when Carrick gives the addresses."""

NEEDS_LINK = frozenset({"dhcp"})
"""Plugins that speak through the interface, which must be there before they are asked."""

TIMEOUT_S = 90.0


def is_delegated(ipam: Ipam) -> bool:
    return ipam.type not in OWN


class IpamPlugins:
    """Other people's IPAM plugins, found in CNI_PATH."""

    def __init__(self, runner: CniRunner, *, timeout_s: float = TIMEOUT_S) -> None:
        self._runner = runner
        self._timeout_s = timeout_s

    async def add(self, call: Call, ipam: Ipam, config: bytes) -> Given:
        """Return the addresses that it gives."""
        output = await self._run(call, ipam, config, Command.ADD)
        return given_of(parse_result(output.encode(), f"IPAM plugin {ipam.type}"), ipam.type)

    async def tell(self, call: Call, ipam: Ipam, config: bytes, command: Command) -> None:
        """Pass on a command that has no result."""
        await self._run(call, ipam, config, command)

    async def _run(self, call: Call, ipam: Ipam, config: bytes, command: Command) -> str:
        kind = ipam.type
        if "/" in kind or kind in (".", ".."):
            raise CniError(Code.INVALID_CONFIG, f"invalid plugin name in ipam.type: {kind[:80]!r}")
        if not call.path:
            raise CniError(
                Code.INVALID_ENVIRONMENT,
                "required env variables [CNI_PATH] missing",
                f"IPAM is delegated to plugin {kind}, which is looked for there",
            )
        environment = {**call.environment, "CNI_COMMAND": command.value}
        try:
            answer = await self._runner.run(
                kind,
                call.path,
                environment,
                config,
                attachment=f"ipam {kind} {call.container_id} {call.interface}",
                timeout_s=self._timeout_s,
            )
        except NotFound as error:
            raise CniError(Code.INVALID_CONFIG, error.message, "install it, or leave 'ipam' out") from error
        if answer.code == 0:
            return answer.output
        refusal = parse_refusal(answer.output)
        if refusal is None:
            raise CniError(
                Code.FAILED,
                f"IPAM plugin {kind} failed with exit code {answer.code}",
                (answer.errors or answer.output)[-500:],
            )
        raise CniError(refusal.code, f"IPAM plugin {kind}: {refusal.message}", refusal.details)

"""Call CNI plugins, one after the other, as a configuration says; errors in libcni's words."""

import logging

from ...domains.cni import (
    ConfigurationList,
    Invocation,
    parse_configuration,
    parse_refusal,
    parse_result,
    plan_add,
    plan_check,
    plan_remove,
)
from ...domains.cni.result import TRY_AGAIN_LATER
from ...host.cni import CniRunner
from ...model.delegation import EndpointCall, Made
from ...model.errors import CarrickError, Failed, NotFound, Unavailable
from ...model.networks import Network

_log = logging.getLogger(__name__)
_WITHOUT_CHECK = frozenset({"0.1.0", "0.2.0", "0.3.0", "0.3.1"})


class CniDelegate:
    """Implements `Delegate`."""

    def __init__(self, runner: CniRunner) -> None:
        self._runner = runner

    async def create_network(self, network: Network) -> None:
        """There is nothing to tell: a CNI network is its configuration."""

    async def remove_network(self, network: Network) -> None:
        """There is nothing to tell."""

    async def add(self, call: EndpointCall) -> Made:
        configuration = _configuration(call)
        result = ""
        for position in range(len(configuration.plugins)):
            invocation = plan_add(configuration, position, call, result)
            result = await self._run(invocation, call)
            try:
                made = parse_result(result, call.interface)
            except Failed as error:
                shown = result.strip()[:200]
                raise Failed(
                    f'plugin type="{invocation.type}" failed (add): {error.message}'
                    + (f" (it printed {shown!r})" if shown else " (it printed nothing)")
                ) from error
        return made

    async def publish(self, call: EndpointCall) -> None:
        """The plugins have done it already: they were told of the ports."""

    async def check(self, call: EndpointCall, made: Made) -> None:
        configuration = _configuration(call)
        if configuration.disable_check or configuration.version in _WITHOUT_CHECK:
            return
        for invocation in plan_check(configuration, call, made.result):
            await self._run(invocation, call)

    async def leave(self, call: EndpointCall, made: Made) -> None:
        """The plugins take their links themselves."""

    async def remove(self, call: EndpointCall, made: Made | None) -> bool:
        configuration = _configuration(call)
        # A namespace that is gone is not named: plugins must cope with that, not with a path to nothing.
        netns = call.netns if self._runner.has_netns(call.netns) else ""
        problems: list[CarrickError] = []
        for invocation in plan_remove(configuration, call, netns, made.result if made else ""):
            try:
                await self._run(invocation, call)
            except CarrickError as error:
                # The others hold things as well: addresses, rules.
                _log.warning("network %s: %s", call.network_name, error)
                problems.append(error)
        if problems:
            raise problems[0]
        return True

    async def _run(self, invocation: Invocation, call: EndpointCall) -> str:
        """Run one plugin; return what it printed. Its refusal is raised, in its own words."""
        command = invocation.command.lower()
        try:
            answer = await self._runner.run(
                invocation.type,
                call.path,
                invocation.environment,
                invocation.stdin,
                attachment=f"{call.sandbox_id} {call.interface}",
                timeout_s=call.timeout_s,
            )
        except NotFound as error:
            # It was there when the network was created; the container that is to start is not missing.
            raise Failed(error.message, remedy=error.remedy) from error
        if answer.errors:
            _log.debug('plugin type="%s" (%s): %s', invocation.type, command, answer.errors)
        if answer.code == 0:
            return answer.output
        prefix = f'plugin type="{invocation.type}" failed ({command})'
        refusal = parse_refusal(answer.output)
        if refusal is not None:
            if refusal.code == TRY_AGAIN_LATER:
                raise Unavailable(f"{prefix}: {refusal}", remedy="try again later")
            raise Failed(f"{prefix}: {refusal}")
        how = f"signal {-answer.code}" if answer.code < 0 else f"exit status {answer.code}"
        said = answer.errors or answer.output.strip()
        raise Failed(
            f"{prefix}: netplugin failed: {said[:1000]!r} ({how})"
            if said
            else f"{prefix}: netplugin failed with no error message: {how}"
        )


def _configuration(call: EndpointCall) -> ConfigurationList:
    return parse_configuration(call.configuration, name=call.network_name)

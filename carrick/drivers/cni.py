"""The cni driver: endpoints are made by third-party CNI plugins, as a configuration list says.

Links, addresses, routes and ports are the plugins'; Carrick calls them, takes over what they answer, and
elects gateways among it. The configuration is kept in the network's options when the network is created: what
becomes of the file afterwards changes nothing.
"""

from dataclasses import dataclass, replace

from ..domains.cni import ConfigurationList, check_wishes, parse_configuration
from ..domains.sandboxes.interfaces import SYSCTLS_OPTION, parse_sysctls
from ..model.delegation import DelegateKind, EndpointCall, Made, Wishes
from ..model.errors import InvalidRequest
from ..model.networks import Endpoint, Network, Sandbox
from ..model.steps import Plan, SetSysctl
from .contract import DriverCapabilities, HostView
from .delegated import DelegatedDriver

CONFLIST = "conflist"
"""Where the configuration was read; the engine reads it and fills in `conf`."""

CONF = "conf"
PATH = "path"
TIMEOUT = "timeout"
OPTIONS = frozenset({CONFLIST, CONF, PATH, TIMEOUT})
_TIMEOUT_S = 30.0
_LONGEST_S = 600.0


@dataclass(frozen=True, slots=True)
class CniOptions:
    """`path` are directories with plugins; `timeout_s` is for one plugin."""

    configuration: ConfigurationList
    path: tuple[str, ...]
    timeout_s: float


def parse_options(network: Network) -> CniOptions:
    """Parse a network's options; InvalidRequest names the option."""
    options = network.options
    if unknown := sorted(options.keys() - OPTIONS):
        raise InvalidRequest(
            f"unknown option {unknown[0]} of driver cni", remedy=f"known are {', '.join(sorted(OPTIONS))}"
        )
    if not options.get(CONF):
        raise InvalidRequest(
            "driver cni needs a CNI configuration",
            remedy=f"give it with -o {CONFLIST}=/PATH/TO/NAME.conflist, or as JSON with -o {CONF}=…",
        )
    path = tuple(filter(None, options.get(PATH, "").split(":")))
    if bad := next((item for item in path if not item.startswith("/")), ""):
        raise InvalidRequest(f"{PATH}: {bad} is no absolute path")
    return CniOptions(parse_configuration(options[CONF], name=network.name), path, _timeout(options))


def _timeout(options: dict[str, str]) -> float:
    text = options.get(TIMEOUT) or str(_TIMEOUT_S)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _LONGEST_S:
        raise InvalidRequest(f"{TIMEOUT}: {text} must be a number of seconds, up to {_LONGEST_S:g}")
    return seconds


class CniDriver(DelegatedDriver):
    """Implements `Driver` and `Delegating` for CNI plugins."""

    name = "cni"
    capabilities = DriverCapabilities(addressed=False)
    delegate = DelegateKind.CNI

    def check(self, network: Network, others: tuple[Network, ...], host: HostView) -> Network:
        parse_options(network)
        if network.ipam_driver != "default":
            raise InvalidRequest(
                f"driver cni cannot be used with the IPAM driver {network.ipam_driver}: addresses are given "
                "by the IPAM plugin of the configuration"
            )
        if any(pool.subnet or pool.gateway or pool.ip_range for pool in network.pools):
            raise InvalidRequest(
                "driver cni takes no subnet: addresses are given by the IPAM plugin of the configuration",
                remedy="leave out --subnet, --ip-range and --gateway, and write them into the configuration",
            )
        if network.internal:
            raise InvalidRequest(
                "driver cni has no internal networks: what is reachable is up to the plugins",
                remedy="leave out --internal, and the default route from the configuration",
            )
        return replace(network, pools=())

    def plan_call(
        self, network: Network, endpoint: Endpoint, sandbox: Sandbox, wishes: Wishes
    ) -> EndpointCall:
        options = parse_options(network)
        settings = endpoint.settings
        call = EndpointCall(
            kind=self.delegate,
            name=options.configuration.name,
            network_id=network.id,
            network_name=network.name,
            endpoint_id=endpoint.id,
            sandbox_id=sandbox.id,
            netns=sandbox.netns,
            interface=endpoint.interface,
            index=endpoint.index,
            ipv4=settings.ipv4_address,
            ipv6=settings.ipv6_address,
            mac_address=endpoint.mac_address,
            aliases=settings.aliases,
            options=settings.driver_opts,
            wishes=wishes,
            configuration=network.options[CONF],
            path=options.path,
            timeout_s=options.timeout_s,
        )
        check_wishes(options.configuration, call)
        return call

    def plan_made(self, call: EndpointCall, endpoint: Endpoint, made: Made) -> tuple[Endpoint, Plan]:
        sysctls = parse_sysctls(call.options.get(SYSCTLS_OPTION, ""), call.interface)
        return (
            replace(
                endpoint,
                mac_address=made.mac_address or endpoint.mac_address,
                ipv4=made.ipv4,
                ipv6=made.ipv6,
                gateway4=made.gateway4,
                gateway6=made.gateway6,
                dns=made.dns,
            ),
            Plan(tuple(SetSysctl(key, value, call.netns) for key, value in sysctls)),
        )

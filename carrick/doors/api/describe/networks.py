"""Networks, and the endpoint settings that containers have as well."""

from .kinds import (
    FLAG,
    ID,
    ID_OR_NONE,
    INTEGER,
    TEXT,
    TEXT_MAP,
    TEXTS,
    TIME,
    Array,
    Map,
    Null,
    Object,
    Sided,
    asked,
    maybe,
    shown,
    since,
)
from .operations import Operation, Operations, document, done, filters, flag, json, word

_FILTERS = "`name`, `id`, `driver`, `scope`, `type`, `label`, `dangling`"

ENDPOINT_IPAM = Object(
    "EndpointIPAMConfig",
    {"IPv4Address": maybe(TEXT), "IPv6Address": maybe(TEXT), "LinkLocalIPs": maybe(TEXTS)},
)
ENDPOINT = Object(
    "EndpointSettings",
    {
        "IPAMConfig": Null(ENDPOINT_IPAM),
        "Links": Null(TEXTS),
        "Aliases": Null(TEXTS),
        "MacAddress": TEXT,
        "DriverOpts": Null(TEXT_MAP),
        "GwPriority": since(INTEGER, 1, 48),
        "NetworkID": Sided(ID_OR_NONE, TEXT),
        "EndpointID": Sided(ID_OR_NONE, TEXT),
        "Gateway": TEXT,
        "IPAddress": TEXT,
        "IPPrefixLen": INTEGER,
        "IPv6Gateway": TEXT,
        "GlobalIPv6Address": TEXT,
        "GlobalIPv6PrefixLen": INTEGER,
        "DNSNames": since(Null(TEXTS), 1, 44),
    },
)
POOL = Object(
    "IPAMPool",
    {
        "Subnet": TEXT,
        "IPRange": maybe(TEXT),
        "Gateway": maybe(TEXT),
        "AuxiliaryAddresses": maybe(TEXT_MAP),
        "AuxAddress": asked(TEXT_MAP),
    },
)
IPAM = Object("IPAM", {"Driver": TEXT, "Options": Null(TEXT_MAP), "Config": Array(POOL)})
CONFIG_FROM = Object("ConfigReference", {"Network": TEXT})
ATTACHED = Object(
    "NetworkContainer",
    {
        "Name": TEXT,
        "EndpointID": ID,
        "MacAddress": TEXT,
        "IPv4Address": TEXT,
        "IPv6Address": TEXT,
        "Engine": maybe(TEXT),
    },
)
SUBNET_USE = Object("SubnetStatus", {"IPsInUse": INTEGER, "DynamicIPsAvailable": INTEGER})
STATUS = Object("NetworkStatus", {"IPAM": Object("", {"Subnets": Map(SUBNET_USE)})})
NETWORK = Object(
    "Network",
    {
        "Name": TEXT,
        "Id": shown(ID),
        "Created": shown(TIME),
        "Scope": TEXT,
        "Driver": TEXT,
        "EnableIPv4": since(FLAG, 1, 48),
        "EnableIPv6": FLAG,
        "IPAM": IPAM,
        "Internal": FLAG,
        "Attachable": FLAG,
        "Ingress": FLAG,
        "ConfigFrom": CONFIG_FROM,
        "ConfigOnly": FLAG,
        "Containers": shown(Map(ATTACHED)),
        "Options": TEXT_MAP,
        "Labels": TEXT_MAP,
        "CheckDuplicate": asked(FLAG),
        "Status": maybe(shown(STATUS)),
    },
)
CONNECT = Object("NetworkConnect", {"Container": asked(TEXT), "EndpointConfig": asked(ENDPOINT)})
DISCONNECT = Object("NetworkDisconnect", {"Container": asked(TEXT), "Force": asked(FLAG)})

_LIST = Operation(
    "List networks",
    {200: json(Array(NETWORK), "Without their containers")},
    parameters=(filters(_FILTERS),),
)

OPERATIONS: Operations = {
    "GET /networks": _LIST,
    "GET /networks/": _LIST,
    "POST /networks/create": Operation(
        "Create a network",
        {201: json(Object("NetworkCreated", {"Id": ID, "Warning": TEXT}), "Created")},
        errors=(403, 404, 409, 501),
        body=document(NETWORK),
    ),
    "POST /networks/prune": Operation(
        "Remove the networks that no container is on",
        {200: json(Object("NetworksPruned", {"NetworksDeleted": Null(TEXTS)}))},
        parameters=(filters("`until`, `label`, `label!`"),),
    ),
    "GET /networks/{id}": Operation(
        "Inspect a network",
        {200: json(NETWORK)},
        errors=(404,),
        parameters=(
            flag("verbose", "Add how full the pools are, under `Status`"),
            word("scope", "Only a network of that scope"),
        ),
    ),
    "POST /networks/{id}/connect": Operation(
        "Put a container on a network",
        {200: done("Connected")},
        errors=(403, 404, 409, 501),
        body=document(CONNECT),
    ),
    "POST /networks/{id}/disconnect": Operation(
        "Take a container off a network",
        {200: done("Disconnected")},
        errors=(403, 404, 409),
        body=document(DISCONNECT),
    ),
    "DELETE /networks/{id}": Operation("Remove a network", {204: done("Removed")}, errors=(403, 404, 409)),
}

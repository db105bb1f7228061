"""The management groups: `carrick container`, `image`, `network`, `node` and so on."""

from carrick.doors.cli import registry
from carrick.doors.cli.command import Group

CLUSTER = Group("cluster", "Manage the cluster that this host is in", registry.CLUSTER)
CNI = Group("cni", "Let Podman, containerd and Kubernetes use Carrick's networks", registry.CNI)
CONTAINER = Group("container", "Manage containers", registry.CONTAINER, aliases=registry.CONTAINER_ALIASES)
FLANNEL = Group(
    "flannel",
    "Give other engines their part of a network, as flannel does",
    registry.FLANNEL,
    aliases=registry.FLANNEL_ALIASES,
)
GUEST = Group("guest", "See containers of other engines", registry.GUEST, aliases=registry.GUEST_ALIASES)
IMAGE = Group("image", "Manage images", registry.IMAGE, aliases=registry.IMAGE_ALIASES)
LAB = Group("lab", "Run several hosts on this machine, to try and to test", registry.LAB)
LAB_ETCD = Group("etcd", "Manage the etcd of a lab", registry.LAB_ETCD)
NETWORK = Group("network", "Manage networks", registry.NETWORK, aliases=registry.NETWORK_ALIASES)
NODE = Group("node", "Manage the cluster's nodes", registry.NODE, aliases=registry.NODE_ALIASES)
PEER = Group("peer", "See how the other nodes are reached", registry.PEER, aliases=registry.PEER_ALIASES)
SYSTEM = Group("system", "Manage Carrick", registry.SYSTEM)
VOLUME = Group("volume", "Manage volumes", registry.VOLUME, aliases=registry.VOLUME_ALIASES)

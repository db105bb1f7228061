"""The management groups: `carrick container`, `image`, `network`, `system`, `volume`."""

from carrick.doors.cli import registry
from carrick.doors.cli.command import Group

CONTAINER = Group("container", "Manage containers", registry.CONTAINER, aliases=registry.CONTAINER_ALIASES)
IMAGE = Group("image", "Manage images", registry.IMAGE, aliases=registry.IMAGE_ALIASES)
NETWORK = Group("network", "Manage networks", registry.NETWORK, aliases=registry.NETWORK_ALIASES)
SYSTEM = Group("system", "Manage Carrick", registry.SYSTEM)
VOLUME = Group("volume", "Manage volumes", registry.VOLUME, aliases=registry.VOLUME_ALIASES)

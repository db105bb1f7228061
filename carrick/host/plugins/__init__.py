"""Docker's plugins as a caller sees them: found in the usual places, spoken to over HTTP."""

from .client import HttpPlugins
from .contract import Plugins, Refused
from .discovery import Places

__all__ = ["HttpPlugins", "Places", "Plugins", "Refused"]

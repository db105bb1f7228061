"""Remember which links this process takes down or removes, so that the monitor can tell a foreign hand.

The kernel reports a link that went, or went down, in its own name, whoever asked for it. So what we are about
to do is written down before it is done. A link's name suffices: endpoints' are new at every start, and a link
that is made or brought up again is struck off.
"""

from collections import OrderedDict
from threading import Lock

from ...model import steps
from ...model.steps import Step

_MOST = 8192


class OwnLinks:
    """Names of links of the daemon's namespace that we took down or removed. Used from several threads."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, None] = OrderedDict()
        # Guards `_names`.
        self._lock = Lock()

    def note(self, step: Step) -> None:
        """Take account of a step that is about to be carried out."""
        match step:
            case steps.DeleteLink(name, netns="") | steps.SetLink(name, netns="", up=False):
                self.note_name(name)
            case (
                steps.CreateBridge(name)
                | steps.CreateVeth(name)
                | steps.CreateVlan(name)
                | steps.CreateDummy(name)
                | steps.SetLink(name, netns="", up=True)
            ):
                with self._lock:
                    self._names.pop(name, None)

    def note_name(self, name: str) -> None:
        with self._lock:
            self._names[name] = None
            self._names.move_to_end(name)
            while len(self._names) > _MOST:
                self._names.popitem(last=False)

    def __contains__(self, name: str) -> bool:
        with self._lock:
            return name in self._names

"""Records of the cluster's store that cannot be read, as warnings."""

from collections.abc import Sequence

from ....model.errors import CarrickError

_MOST = 10


def render_unreadable(errors: Sequence[CarrickError]) -> list[str]:
    """Return a warning for each; of many the first ones, and how many more there are."""
    shown = [
        f"{error.message}; {error.remedy}" if error.remedy else error.message for error in errors[:_MOST]
    ]
    if (more := len(errors) - _MOST) > 0:
        shown.append(f"{more} more records in the store cannot be read: carrick doctor names them all")
    return shown

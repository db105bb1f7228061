"""Names for containers: the pattern they follow, and one for those that got none."""

import re
from collections.abc import Callable

from ..model.errors import InvalidRequest

_PATTERN = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z")

_QUALITIES = (
    "able agile alert apt astute brave bright brisk calm candid clear clever cosmic crisp deft eager earnest "
    "fair fond frank fresh gentle glad grand handy hardy hearty humble jolly keen kind lively loyal lucid "
    "merry mild modest neat nimble noble patient placid plucky polite prompt proud quick quiet ready serene "
    "sharp smart snug sober solid spry stable steady stoic sturdy sunny swift tidy trusty upbeat vivid warm "
    "wise witty zesty"
).split()
_KNOTS = (
    "anchor angler becket bight blackwall bowline bunt carrick cat chain cleat clove constrictor crown "
    "diamond eskimo farrier fender fisherman garda grief halyard handcuff hitch honda italian killick lark "
    "lashing manrope marlin midshipman monkey munter noose overhand palomar prusik reef rolling sailor "
    "sennit sheepshank sheet shroud slip splice square stevedore stopper tack taut timber toggle trucker "
    "turk uni wall water zeppelin"
).split()


def check_name(name: str) -> str:
    """Return a container's name without a leading slash; InvalidRequest in Docker's words."""
    if not _PATTERN.match(name):
        raise InvalidRequest(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return name.removeprefix("/")


def choose_name(is_taken: Callable[[str], bool], random_below: Callable[[int], int]) -> str:
    """Return a free name: a quality and a knot, with a number once those are mostly taken."""
    while True:
        name = f"{_QUALITIES[random_below(len(_QUALITIES))]}_{_KNOTS[random_below(len(_KNOTS))]}"
        if not is_taken(name):
            return name
        name += str(random_below(1_000_000))
        if not is_taken(name):
            return name

"""What a container's network mode says by itself."""

MODES_WITHOUT_NETWORK = ("host", "none")
"""Those that give a container no network of its own; `container:ID` is a third, and shares another's."""

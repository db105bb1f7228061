"""From the engine's views to Docker's JSON, field for field and in Docker's order. Pure."""

from typing import Any

Json = dict[str, Any]

"""Values the whole project speaks in: networks, endpoints, containers, steps, errors."""

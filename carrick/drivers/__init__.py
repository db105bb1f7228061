"""Network drivers: read, ask a domain, apply."""

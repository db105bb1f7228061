"""Delegation: networks, endpoints and addresses that somebody else makes for Carrick's own containers."""

from .service import Delegation

__all__ = ["Delegation"]

"""Carrick joins containers: one engine that gives any container, of any runtime, a network."""

__version__ = "0.1.0"

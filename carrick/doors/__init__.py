"""Doors: each translates one way of speaking into engine calls and decides nothing."""

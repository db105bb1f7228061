"""Transports: how packets get from one node to another. `contract` says what one is, `choose` which is used.

A routed network names one (`-o backend=…`); with `cross-subnet` a peer on our own segment is reached without.
"""

"""Published ports: bound on the host for as long as they are published, relayed where nft cannot."""

"""The Docker plugin: libnetwork's remote network and IPAM protocols, answered for a real Docker Engine.

`parse` and `render` translate, `bindings` knows which Carrick network is which of Docker's, `ipam`,
`networks` and `endpoints` answer the calls, `server` listens. `engine_api`, `docker_resolver` and `names` are
about the one thing that the protocol does not tell: what a container is called.
"""

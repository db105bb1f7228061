"""The sockets of `carrick-dns`, and the daemon's client for it.

Moves bytes between sandboxes, upstream servers, the control socket and a `Names` (see `contract`),
which decides everything. One thread and one epoll loop: a question answered from memory costs one
receive, one dictionary lookup and one send.
"""

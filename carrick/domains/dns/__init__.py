"""Names: what `carrick-dns` answers, decided without I/O.

`message` is the wire codec, `zone` the values the daemon sends, `table` their index, `answer` the
rules, `forward` the state machine for everything we do not know, and `core` joins them. Sockets,
namespaces and timers are `carrick.host.resolver`'s.
"""

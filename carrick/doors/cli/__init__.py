"""The `carrick` command line: Docker's commands, flags, output and exit codes, over the socket.

`main` builds the tree of commands from `registry` and maps errors to exit codes; a command's
module is imported when that command runs, and not before. Everything that decides something is
a pure module of its own (flags, ports, networks, templates, tables), so that the tests need no
daemon.
"""

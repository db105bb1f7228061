"""The commands, a module per group of them; `carrick.doors.cli.registry` says where each is."""

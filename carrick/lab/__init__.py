"""A lab: several hosts on one machine, with a network between them that can be broken on purpose.

    lab = Lab(Path("/run/carrick-lab/lab"))
    lab.up(LabSpec(hosts=3, segments=2), state_dir=Path("/var/lib/carrick-lab/lab"))
    lab.cut("host1", "host2")
    lab.down()

A host is a process, the first of a pid namespace, with a network, mounts and a host name of its own. On it
runs the `carrickd` that runs anywhere, with its default paths; neither it nor the command line knows of the
lab. The router between the hosts is such a host too, and all of them are descendants of its first process:
when that one ends, for whatever reason, the kernel clears the lab away but for its files and cgroups.

This package imports the errors of the model and nothing else of Carrick's.
"""

"""What a container has where its HostConfig says nothing: what it runs with is what `inspect` shows.

The values are Docker's (moby/daemon/pkg/oci), and hold for containers that are not privileged.
"""

SHM_SIZE = 64 << 20
"""The size of /dev/shm in bytes, of privileged containers too."""

MASKED_PATHS = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

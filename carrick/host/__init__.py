"""Effects: the kernel, the store, the container runtime, files. Nowhere else."""

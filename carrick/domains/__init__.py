"""Pure decisions: no I/O, no clock, no asyncio; they import the model and nothing else."""

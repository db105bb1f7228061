"""What the list commands print: each API object as a record with Docker's fields and headers."""

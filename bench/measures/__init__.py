"""What is measured, a module each; every one interleaves the systems."""

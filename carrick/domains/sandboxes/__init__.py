"""What is inside a sandbox: which interface is which, where the default routes go, and its files."""

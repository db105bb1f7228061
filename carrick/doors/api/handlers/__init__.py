"""One module per kind of object: HTTP in, engine calls, HTTP out. Each has `routes()`."""

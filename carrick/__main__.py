"""`python -m carrick`: the command line."""

from carrick.doors.cli.main import main

if __name__ == "__main__":
    main()

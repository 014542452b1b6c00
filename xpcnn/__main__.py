"""`python -m xpcnn` is `xpcnn`."""

from xpcnn.cli.main import main

if __name__ == "__main__":
    main()

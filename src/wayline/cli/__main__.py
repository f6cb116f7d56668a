"""`python -m wayline.cli`: the command line without its script."""

from wayline.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()

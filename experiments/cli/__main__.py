"""``python -m experiments.cli``: the same as ``asiclab``."""

from experiments.cli.app import main

if __name__ == "__main__":
    main()

"""`python -m cnnbench`, the same as the command."""

from cnnbench.cli import main

if __name__ == "__main__":  # processes of `--jobs` import this file too
    main()

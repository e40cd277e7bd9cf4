"""`python -m cnnbench`, the same as the command."""

from cnnbench.cli import main

main()

"""`python -m tidemill`: the command line."""

from tidemill.commands import main

main()

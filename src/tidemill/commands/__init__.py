"""The command line: `tidemill check | try | run | … | config | schema | init | demo | serve-mock`."""

from tidemill.commands import config as config  # each module adds its commands to the app
from tidemill.commands import jobs as jobs
from tidemill.commands import project as project
from tidemill.commands.app import app as app
from tidemill.commands.app import main as main
from tidemill.commands.app import run_command as run_command

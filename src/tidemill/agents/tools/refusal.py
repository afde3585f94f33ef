"""`RefusalError`: what a tool tells the model on purpose in place of a result."""

from __future__ import annotations

from tidemill.errors import DataError


class RefusalError(DataError):
    """A tool does not do what it was asked, and the model is to know why.

    Raised by a tool's function. Its text is always told to the model, whatever `ToolOptions.shows_errors` says, so it
    holds nothing that the model may not know; it is not tried again, and it ends no agent. The call's outcome is of
    kind `error`.
    """

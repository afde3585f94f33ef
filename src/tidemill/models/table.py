"""Every step that makes outside calls."""

from __future__ import annotations

from tidemill.models.branches import Gather
from tidemill.models.call import Call
from tidemill.models.calling import CallNode
from tidemill.models.embed import Embed
from tidemill.models.generate import Generate

CALL_NODES: tuple[type[CallNode], ...] = (Generate, Embed, Call, Gather)

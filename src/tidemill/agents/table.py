"""Every step that a record half can begin with."""

from __future__ import annotations

from tidemill.agents.step import RunAgent
from tidemill.models.steps.branches import Gather
from tidemill.models.steps.call import Call
from tidemill.models.steps.calling import CallNode
from tidemill.models.steps.embed import Embed
from tidemill.models.steps.generate import Generate
from tidemill.models.steps.predict import Predict
from tidemill.stores.steps.index import Index
from tidemill.stores.steps.search import Search

CALL_NODES: tuple[type[CallNode], ...] = (Generate, Embed, Call, Gather, Predict, RunAgent, Index, Search)

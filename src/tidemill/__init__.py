"""LLM calls over data of any size: each record lands exactly once, validated, inside your limits and budget.

The names here are loaded when they are first used, so that `import tidemill` stays cheap.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tidemill.exports import export
from tidemill.version import __version__ as __version__

if TYPE_CHECKING:
    from tidemill.adapters.collate import collate as collate
    from tidemill.agents.agent import Agent as Agent
    from tidemill.agents.tools.context import Context as Context
    from tidemill.agents.tools.decorator import tool as tool
    from tidemill.calls.gather import gather as gather
    from tidemill.calls.limits import Budget as Budget
    from tidemill.calls.limits import Limits as Limits
    from tidemill.calls.limits import Price as Price
    from tidemill.config.cli.script import cli as cli
    from tidemill.config.loading import load_config as load_config
    from tidemill.config.model import Config as Config
    from tidemill.config.schemas.json_schema import json_schema as json_schema
    from tidemill.data.merging import merge_states as merge_states
    from tidemill.errors import BudgetError as BudgetError
    from tidemill.errors import CallError as CallError
    from tidemill.errors import ConfigError as ConfigError
    from tidemill.errors import DataError as DataError
    from tidemill.errors import PermanentCallError as PermanentCallError
    from tidemill.errors import ResourceError as ResourceError
    from tidemill.errors import StateError as StateError
    from tidemill.errors import TidemillError as TidemillError
    from tidemill.errors import TransientCallError as TransientCallError
    from tidemill.errors import WorkerError as WorkerError
    from tidemill.job import Job as Job
    from tidemill.job import load_job as load_job
    from tidemill.models.model import Model as Model
    from tidemill.models.model import model as model
    from tidemill.pipeline import Pipeline as Pipeline
    from tidemill.resources.profiling.profiler import InferenceProfiler as InferenceProfiler
    from tidemill.resources.scope import Scope as Scope
    from tidemill.resources.states.freezing import frozen as frozen
    from tidemill.resources.states.gradients import gradients as gradients
    from tidemill.resources.states.modes import evaluating as evaluating
    from tidemill.resources.states.seeding import seeded as seeded
    from tidemill.resources.timing.latency import latency as latency
    from tidemill.stream.dataset import Dataset as Dataset
    from tidemill.stream.opening import dataset as dataset
    from tidemill.stream.opening import from_hf as from_hf
    from tidemill.stream.opening import from_iterable as from_iterable
    from tidemill.stream.opening import from_sql as from_sql
    from tidemill.stream.opening import mix as mix
    from tidemill.stream.opening import read as read
    from tidemill.stream.opening import replay as replay
    from tidemill.stream.stream import Stream as Stream

logging.getLogger(__name__).addHandler(logging.NullHandler())  # a library is quiet until it is asked

_ERRORS = (
    "BudgetError CallError ConfigError DataError PermanentCallError ResourceError StateError TidemillError "
    "TransientCallError WorkerError"
)
__all__, _load, __dir__ = export(
    __name__,
    {
        "adapters.collate": "collate",
        "agents.agent": "Agent",
        "agents.tools.context": "Context",
        "agents.tools.decorator": "tool",
        "calls.gather": "gather",
        "calls.limits": "Budget Limits Price",
        "config.cli.script": "cli",
        "config.loading": "load_config",
        "config.model": "Config",
        "config.schemas.json_schema": "json_schema",
        "data.merging": "merge_states",
        "errors": _ERRORS,
        "job": "Job load_job",
        "models.model": "Model model",
        "pipeline": "Pipeline",
        "resources.timing.latency": "latency",
        "resources.profiling.profiler": "InferenceProfiler",
        "resources.scope": "Scope",
        "resources.states.freezing": "frozen",
        "resources.states.gradients": "gradients",
        "resources.states.modes": "evaluating",
        "resources.states.seeding": "seeded",
        "stream.dataset": "Dataset",
        "stream.opening": "dataset from_hf from_iterable from_sql mix read replay",
        "stream.stream": "Stream",
        "version": "__version__",
    },
)


def __getattr__(name: str) -> Any:
    return import_module("tidemill.testing") if name == "testing" else _load(name)  # the one part that is used whole

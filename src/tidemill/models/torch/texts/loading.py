"""Loading the transformer of a folder: from its safetensors, or from a pickle that may hold tensors alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from tidemill.errors import ResourceError
from tidemill.models.load import Load
from tidemill.models.torch.weights import SAFE, find_weight_files, load_weights

_lock = threading.Lock()  # what transformers says is switched for the whole process; guards that


def load_transformer(folder: Path, load: Load) -> Any:
    """The transformer whose `config.json` and weights stand in `folder`, in evaluation mode, on its device.

    Nothing is downloaded. Blocks for the load: 1 s for all-MiniLM-L6-v2, and 5 s for the import of transformers.

    Raises:
        ResourceError: its files cannot be loaded, lack weights, or want code to run that is not trusted.
    """
    with _quiet(), _explaining(folder):
        config = _library().AutoConfig.from_pretrained(folder, **_common(load))
        model, found = _load(folder, config, load)
    # What nothing was found for was filled with random numbers. A pooler is what other tasks train: it is not used.
    missing = sorted(name for name in found["missing_keys"] if not name.startswith("pooler."))
    if missing or found["mismatched_keys"]:
        told = ", ".join([*missing, *(str(each[0]) for each in sorted(found["mismatched_keys"]))][:4])
        raise ResourceError(
            f"the weights in {folder} are not those of its config.json: nothing fits {told}",
            hint="its vectors would be random; take the folder whole, as `save_pretrained` wrote it",
        )
    if load.device_map is None:
        model.to(_find_device())
    return model.eval()


def load_tokenizer(folder: Path, load: Load) -> Any:
    """The tokenizer in `folder`.

    Raises:
        ResourceError: there is none, or it wants code to run that is not trusted.
    """
    with _quiet(), _explaining(folder):
        return _library().AutoTokenizer.from_pretrained(folder, **_common(load))


def _load(folder: Path, config: Any, load: Load) -> tuple[Any, dict[str, Any]]:
    """The model, and what transformers says of its weights."""
    auto = _library().AutoModel
    given: dict[str, Any] = {**load.options, **_common(load), "output_loading_info": True}
    if load.device_map is not None:
        given["device_map"] = load.device_map
    if load.dtype is not None:
        given["dtype"] = load.dtype
    if all(each.suffix == SAFE for each in find_weight_files(folder)):
        model, found = auto.from_pretrained(folder, config=config, use_safetensors=True, **given)
        return model, found
    # Read here, since transformers 5.24 reads a pickle twice, the second time never trusting it.
    weights = load_weights(folder, trusted=load.trusted)
    with torch.device("meta"):
        kind: Any = type(auto.from_config(config, trust_remote_code=load.trusted))
    model, found = kind.from_pretrained(None, config=config, state_dict=weights, **given)
    return model, found


def _library() -> Any:
    import transformers

    return transformers


def _common(load: Load) -> dict[str, Any]:
    return {"local_files_only": True, "trust_remote_code": load.trusted}


def _find_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bars and reports on stderr, which are then as they were."""
    with _lock:
        logging = _library().utils.logging
        level, shows = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if shows:
                logging.enable_progress_bar()


@contextmanager
def _explaining(folder: Path) -> Iterator[None]:
    try:
        yield
    except ResourceError:
        raise
    except Exception as exc:  # the edge to a library that raises whatever those it loads do
        told = " ".join(str(exc).split())
        if "trust_remote_code" in told:
            raise ResourceError(
                f"the model in {folder} is refused: loading it would run Python files that stand there",
                hint="if you trust whoever made them, say so: `load: {trusted: true}` of the model",
            ) from exc
        raise ResourceError(f"the model in {folder} cannot be loaded: {type(exc).__name__}: {told[:400]}") from exc

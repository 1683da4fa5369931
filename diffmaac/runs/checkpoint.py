"""Checkpoints: tensors in safetensors, everything else in a JSON manifest, replaced atomically. No pickle.

A checkpoint is a folder with ``state-<step>.safetensors`` and ``manifest.json``, which names that file and its SHA-256.
Writing adds the new tensors beside the old ones, replaces the manifest in one rename, then removes the old tensors:
whenever a run is killed, the manifest names a complete file.
"""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from diffmaac.errors import CheckpointError
from diffmaac.files import replacing, sha256
from diffmaac.provenance import version

FORMAT = 1
"""Raised whenever the meaning of a checkpoint changes."""
MANIFEST = "manifest.json"
ADVICE = "Start the run anew, or restore the folder from a copy."
_TENSOR, _ITEMS = "__tensor__", "__items__"


def save(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Writes `state`, a tree of dicts, lists, tensors, arrays, numbers and strings, as the checkpoint in `folder`."""
    folder.mkdir(exist_ok=True)  # not its parents: a run that was taken away is not to come back as a checkpoint alone
    tensors: dict[str, torch.Tensor] = {}
    tree = _encode(state, "", tensors)
    name = f"state-{step}.safetensors"
    before = {*folder.glob("*.safetensors*"), *folder.glob(".tmp*")}  # the latter are safetensors' own, of a run killed
    try:
        with replacing(folder / name) as partial:
            _save_tensors(tensors, partial)
            manifest = {
                "format": FORMAT,
                "step": step,
                "versions": {p: version(p) for p in ("diffmaac", "torch", "mujoco", "jax", "numpy")},
                "file": name,
                "sha256": sha256(partial),
                "state": tree,
            }
            _sync(partial)
        with replacing(folder / MANIFEST) as partial:
            partial.write_text(json.dumps({**manifest, "checksum": _checksum(manifest)}))
            _sync(partial)
    except OSError:
        if folder / name not in before:  # no manifest names it
            (folder / name).unlink(missing_ok=True)
        raise
    for old in before - {folder / name}:
        old.unlink(missing_ok=True)  # a partial file of a run that was killed has just been replaced


def load(folder: Path) -> tuple[int, dict[str, Any]]:
    """The step and state of the checkpoint in `folder`.

    Raises CheckpointError where it is missing, truncated, from another version or has a wrong checksum.
    """
    manifest = _manifest(folder)
    tensors_path = folder / Path(manifest["file"]).name
    if not tensors_path.is_file():
        raise CheckpointError(f"checkpoint '{folder}' lacks its tensors, '{manifest['file']}'. {ADVICE}")
    if sha256(tensors_path) != manifest["sha256"]:
        raise CheckpointError(f"checkpoint '{tensors_path}' is truncated or changed: wrong checksum. {ADVICE}")
    try:
        return manifest["step"], _decode(manifest["state"], load_file(tensors_path))
    except (SafetensorError, LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"checkpoint '{tensors_path}' cannot be read: {error}. {ADVICE}") from error


def saved_step(folder: Path) -> int:
    """The step of the checkpoint in `folder`. Raises CheckpointError where its manifest is missing or damaged."""
    return _manifest(folder)["step"]


def _manifest(folder: Path) -> dict[str, Any]:
    """The manifest, complete. Raises CheckpointError where it is missing, truncated or from another version."""
    path = folder / MANIFEST
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint in '{folder}' ({MANIFEST} is missing). Is it a run directory?")
    try:
        manifest = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"checkpoint '{path}' is truncated or not JSON. {ADVICE}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        written = manifest.get("format") if isinstance(manifest, dict) else None
        raise CheckpointError(
            f"checkpoint '{folder}' has format {written}, this version of diffmaac reads format {FORMAT}. "
            "Use the version that wrote it (manifest.json names it)."
        )
    for entry, kind in {"file": str, "sha256": str, "step": int, "state": dict}.items():
        if not isinstance(manifest.get(entry), kind):
            raise CheckpointError(f"checkpoint '{path}' lacks the entry '{entry}', or it is damaged. {ADVICE}")
    checksum = manifest.pop("checksum", None)  # older checkpoints have none
    if checksum is not None and checksum != _checksum(manifest):
        raise CheckpointError(f"checkpoint '{path}' is changed: wrong checksum. {ADVICE}")
    return manifest


def _encode(node: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    """`node` as JSON, its tensors put aside into `tensors` under their path."""
    if isinstance(node, np.ndarray):
        node = torch.from_numpy(node)
    if isinstance(node, torch.Tensor):
        tensors[path] = node.detach().cpu().contiguous().clone()
        return {_TENSOR: path}
    if isinstance(node, dict) and all(isinstance(key, str) for key in node):
        return {key: _encode(value, f"{path}/{key}", tensors) for key, value in node.items()}
    if isinstance(node, dict):
        return {_ITEMS: [[key, _encode(value, f"{path}/{key}", tensors)] for key, value in node.items()]}
    if isinstance(node, list | tuple):
        return [_encode(value, f"{path}/{i}", tensors) for i, value in enumerate(node)]
    return node


def _decode(node: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(node, list):
        return [_decode(value, tensors) for value in node]
    if not isinstance(node, dict):
        return node
    if _TENSOR in node:
        return tensors[node[_TENSOR]]
    if _ITEMS in node:
        return {key: _decode(value, tensors) for key, value in node[_ITEMS]}
    return {key: _decode(value, tensors) for key, value in node.items()}


def _checksum(manifest: dict[str, Any]) -> str:
    """Of what a manifest says, its own checksum left away."""
    return hashlib.sha256(json.dumps(manifest).encode()).hexdigest()


def _save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Raises OSError where the file cannot be written, for which safetensors has no error of its own."""
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        code = re.search(r"\(os error (\d+)\)", str(error))
        raise OSError(int(code[1]) if code else None, os.strerror(int(code[1])) if code else str(error)) from error


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())

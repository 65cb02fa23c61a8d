"""The checkpoints that the job writes: path, step and size of each, told once it is written, and which it reads back.

The outermost call tells of one: a checkpoint of the Hugging Face Trainer or of accelerate is a folder of files. Paths
are relative to the working directory; of a file elsewhere only the name is recorded.
"""

from __future__ import annotations

import collections
import json
import os
import time
from typing import Any, Callable, Optional  # torch or safetensors has imported it by now

from .loggers import argument
from .nesting import Nesting
from .patch import call_after, call_after_outermost
from .resumed import Resumed, stamp_of
from .session import Session

_KEPT = 200  # checkpoints in the list
_FILES = 1000  # of a checkpoint that is a folder, for its size
_LEVELS = 3  # of nested dictionaries in which tensors are looked for

Path = Callable[[Any, "tuple[Any, ...]", "dict[str, Any]"], Any]

_writing = Nesting()


class Checkpoints:
    """The checkpoints of one session."""

    def __init__(self, live: Session) -> None:
        self._live = live
        self._written: collections.deque[dict[str, Any]] = collections.deque(maxlen=_KEPT)
        self._steps: dict[str, int] = {}  # by absolute path, of the file as it is now
        self._stamps: dict[str, list[int]] = {}  # step, size and time of the latest, by absolute path
        self._list = os.path.join(live.run_dir, f"checkpoints-{os.getpid()}-{os.urandom(4).hex()}.json")
        self._count = 0
        self._told = 0
        self.read: Optional[tuple[int, int]] = None  # the step of the checkpoint read last, and the step it was read at
        live.closing.append(self._tell)

    def wrote(self, path: str) -> None:
        """Records a checkpoint that has been written."""
        size = _size(path)
        if size is None:
            return
        self._count += 1
        step = self._live.step + self._live.before
        self._note(os.path.abspath(path), step)
        self._written.append({"path": shown(path), "step": step, "bytes": size, "at": round(time.time(), 3)})
        if self._count >= 2 * self._told:  # a job that is killed has told of most of them
            self._tell()

    def _note(self, place: str, step: int) -> None:
        """Writes down at once which step a checkpoint is of, for a job that is killed now and resumed with it."""
        self._steps[place] = step
        self._stamps.pop(place, None)
        self._stamps[place] = [step, *(stamp_of(place) or [])]
        while len(self._stamps) > _KEPT:
            del self._stamps[next(iter(self._stamps))]
        with open(self._list + ".new", "w", encoding="utf-8") as file:
            json.dump(self._stamps, file)
        os.replace(self._list + ".new", self._list)

    def was_read(self, path: str) -> None:
        """Takes note of which checkpoint of its own, or of an earlier attempt, the job reads."""
        self._live.part(Resumed).was_read(path)
        place = os.path.abspath(path)
        step = self._steps.get(place, self._steps.get(os.path.dirname(place)))
        if step is not None:
            self.read = step, self._live.step

    def _tell(self) -> None:
        if self._count > self._told:
            self._told = self._count
            self._live.artifact("checkpoints.json", json.dumps(list(self._written), indent=1))
            self._live.tags({"hpkb.checkpoints": str(self._count), "hpkb.checkpoints.last": self._last()})

    def _last(self) -> str:
        return os.path.basename(os.path.normpath(str(self._written[-1]["path"])))


def watch_checkpoints(torch: Any) -> None:
    """Hooks `torch.save`, and of `torch.load` only how it opens a file: its warnings name the line of its caller."""
    _watch_writing(torch.serialization, "save", _torch_path)
    torch.save = torch.serialization.save
    _watch_reading(torch.serialization, "_open_file_like", 0, "name_or_buffer")


def watch_safetensors(module: Any) -> None:
    """Hooks `save_file` and `load_file` of safetensors."""
    _watch_writing(module, "save_file", lambda _, args, kwargs: argument(args, kwargs, 1, "filename"))
    _watch_reading(module, "load_file", 0, "filename")


def watch_lightning_files(module: Any) -> None:
    """Hooks how Lightning writes and reads a checkpoint: through memory and a file system of its own."""
    files = module.TorchCheckpointIO
    _watch_writing(files, "save_checkpoint", lambda _, args, kwargs: argument(args, kwargs, 2, "path"))
    _watch_reading(files, "load_checkpoint", 1, "path")


def watch_accelerate_states(module: Any) -> None:
    """Hooks `Accelerator.save_state`, which returns the folder."""
    _watch_writing(module.Accelerator, "save_state", lambda result, _args, _kwargs: result)
    _watch_reading(module.Accelerator, "load_state", 1, "input_dir")


def watch_trainer_folders(module: Any) -> None:
    """Hooks where the Hugging Face Trainer writes a checkpoint, and the model at its end."""
    _watch_writing(module.Trainer, "_save_checkpoint", _trainer_folder)
    _watch_writing(module.Trainer, "save_model", _trainer_model)


def shown(path: str) -> str:
    """Returns a path as it is recorded: below the working directory, or the mere name."""
    relative = os.path.relpath(path)
    return os.path.basename(os.path.normpath(path)) if relative.startswith(os.pardir) else relative


def _torch_path(_result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Returns where `torch.save` wrote a model or a dictionary with tensors in it; anything else is no checkpoint."""
    content = argument(args, kwargs, 0, "obj")
    return argument(args, kwargs, 1, "f") if _holds_weights(content, _LEVELS) else None


def _holds_weights(content: Any, levels: int) -> bool:
    if hasattr(content, "_parameters") and hasattr(content, "_modules"):
        return True
    if not isinstance(content, dict) or not levels:
        return False
    values = list(dict.values(content))
    return any(hasattr(value, "is_cuda") or _holds_weights(value, levels - 1) for value in values)


def _trainer_folder(_result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    trainer = args[0]
    folder = trainer._get_output_dir(trial=argument(args, kwargs, 2, "trial"))
    return os.path.join(folder, f"checkpoint-{trainer.state.global_step}")


def _trainer_model(_result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return argument(args, kwargs, 1, "output_dir") or args[0].args.output_dir


def _watch_writing(owner: Any, name: str, path_of: Path) -> None:
    def note(live: Session, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        path = path_of(result, args, kwargs)
        if isinstance(path, (str, os.PathLike)):
            live.part(Checkpoints).wrote(str(os.fspath(path)))

    call_after_outermost(owner, name, _writing, note, "a checkpoint")


def _watch_reading(owner: Any, name: str, position: int, parameter: str) -> None:
    def note(live: Session, _result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        path = argument(args, kwargs, position, parameter)
        if isinstance(path, (str, os.PathLike)) and not _writing.depth:
            live.part(Checkpoints).was_read(str(os.fspath(path)))

    if hasattr(owner, name):
        call_after(owner, name, note)


def _size(path: str) -> Optional[int]:
    """Returns the bytes of a file or of the files of a folder, None where there is none on this machine."""
    try:
        if not os.path.isdir(path):
            return os.stat(path).st_size
        total = files = 0
        for folder, _, names in os.walk(path):
            for name in names:
                total += os.stat(os.path.join(folder, name)).st_size
                files += 1
                if files == _FILES:
                    return total
        return total
    except OSError:
        return None

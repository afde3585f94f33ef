"""The most memory that devices held during each of several blocks, nested ones and those of other threads."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from tidemill.resources.devices import Device


class Peaks:
    """The most bytes in tensors on each device while a block was open.

    A device has one mark, which each block sets back as it begins: what it showed until then goes to the blocks that
    are open already. Whoever reads torch's own `max_memory_allocated` finds it counted from the last of these.

    Attributes:
        peak_bytes: by the device's name; a device that does not count them is left out.
    """

    def __init__(self) -> None:
        self.peak_bytes: dict[str, int] = {}

    def begin(self, devices: Sequence[Device]) -> None:
        """Count from now on."""
        if not devices:
            return
        with _lock:
            _note(devices)
            for device in devices:
                device.reset_peak()
            _open.append(self)
            for device in devices:
                self.peak_bytes.setdefault(device.name, 0)
            _note(devices)

    def update(self, devices: Sequence[Device]) -> None:
        """Count what the devices' marks show by now."""
        with _lock:
            _note(devices)

    def end(self, devices: Sequence[Device]) -> None:
        """Count no further."""
        if self not in _open:
            return
        with _lock:
            try:
                _note(devices)
            finally:
                _open.remove(self)


_lock = threading.Lock()  # guards the open ones and the devices' marks
_open: list[Peaks] = []


def _note(devices: Sequence[Device]) -> None:
    """Let all open blocks over these devices know what their marks show."""
    for device in devices:
        peak = device.read_memory().peak_bytes
        for each in _open:
            if peak is not None and device.name in each.peak_bytes:
                each.peak_bytes[device.name] = max(each.peak_bytes[device.name], peak)

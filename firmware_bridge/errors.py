"""The one error tree of the lab.

::

    LabError
    ├── UserError       a mistake in what was asked for: exit code 2, no traceback
    │   └── LimitError  a setting outside a model's hard limits
    ├── ProtocolError   a peer sent bytes that its protocol does not allow
    ├── DeviceError     a device answered nonsense or not at all
    │   └── UnreachableError  no connection to it was made
    └── TraceError      a trace cannot be read, or can no longer be written

Every message says which device, file or line, what was sent, what came back and what to do.
"""

from __future__ import annotations


class LabError(Exception):
    """Base of every error that the lab raises on purpose."""


class UserError(LabError):
    """A mistake in a command, a file or a configuration; the message says how to mend it."""


class LimitError(UserError):
    """A requested setting lies outside the hard limits of the model."""


class ProtocolError(LabError):
    """A peer broke the protocol it speaks."""


class DeviceError(LabError):
    """A device answered nonsense, or not at all."""


class UnreachableError(DeviceError):
    """Nobody answers where a device should be; who asked for it by an address is told how to find it."""


class TraceError(LabError):
    """A trace store cannot be opened, read, or written any more."""

"""Ctrl-C, seen even where something in between swallows it."""

import signal
import threading


class Interrupts:
    """Remembers a Ctrl-C: libraries in C can turn the KeyboardInterrupt it raises into an error of theirs."""

    def __init__(self) -> None:
        self.seen = False
        ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # in the background of a script
        if threading.current_thread() is threading.main_thread() and not ignored:
            signal.signal(signal.SIGINT, self._raise)

    def _raise(self, number: int, frame: object) -> None:
        self.seen = True
        raise KeyboardInterrupt

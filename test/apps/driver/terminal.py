"""A person at a terminal: a pty whose other end answers the program's questions, one answer to a question.

After a cut the person sits at another terminal, with another pty; the transcript goes on in the same file.
"""

import fcntl
import os
import pty
import re
import struct
import termios
import threading
import time

SIZE = struct.pack("HHHH", 30, 100, 0, 0)


class Person:
    def __init__(self, questions, pause, transcript):
        self.questions = [(re.compile(pattern.encode()), answer) for pattern, answer in questions.items()]
        self.pause = pause
        self.transcript = open(transcript, "wb", buffering=0)
        self.unanswered = threading.Event()  # A question stands on the screen.
        self.hold = threading.Event()  # Set: do not answer now.
        self.line = b""
        self.asked = None

    def sit_down(self):
        """Returns the program's end of a new terminal; the answering goes on in a thread until that end is closed."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, SIZE)
        self.thread = threading.Thread(target=self._answer, args=(master,), daemon=True)
        self.thread.start()
        return slave

    def _answer(self, master):
        if self.asked is not None:
            time.sleep(1)  # A person who has just sat down at another terminal does not type into its start.
            self._reply(master)
        while True:
            try:
                data = os.read(master, 4096)
            except OSError:  # EIO: nobody has the other end open any more.
                break
            if not data:
                break
            self.transcript.write(data)
            self.line = (self.line + data).rsplit(b"\n", 1)[-1]
            for pattern, answer in self.questions:
                if found := pattern.search(self.line):
                    self.asked = answer.replace("$1", found.group(1).decode()).encode()
                    self.line = b""
                    self.unanswered.set()
                    self._reply(master)
        os.close(master)

    def _reply(self, master):
        if self.asked is None:
            return
        time.sleep(self.pause)
        if self.hold.is_set():
            return
        asked, self.asked = self.asked, None
        self.unanswered.clear()
        os.write(master, asked)

    def keep_waiting(self, seconds):
        """Leaves the next question unanswered. True once the program has asked one."""
        self.hold.set()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.unanswered.wait(0.05):
                time.sleep(2 * self.pause)  # An answer that was on its way has left by now.
                if self.unanswered.is_set():
                    return True
        return False

    def stand_up(self):
        self.thread.join(timeout=5)
        self.hold.clear()

    def close(self):
        self.stand_up()
        self.transcript.close()

"""pid 1 of a machine: reaps, runs the user data once, runs commands for the owner, serves systemctl and its like, shuts
down.

Standard input is the control channel; its end means that the owner is dead, so pid 1 ends at once and the kernel takes
every process with it. Output goes to the console, a file outside. Programs of the machine reach pid 1 at
`channel.SOCKET`, root only.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from infra.local_cloud.devices.systemd.manager import Manager

from . import channel, children, user_data
from .setup import ENVIRONMENT

STOP_GRACE = 5.0
"""Seconds that services and processes have when the machine shuts down."""


class Init:
    """The state of pid 1. Every request runs on a thread of its own; the main thread reaps and obeys signals."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.children = children.Children()
        self.manager = Manager(self.children, environment=ENVIRONMENT, log=self.say)
        self.stopping = threading.Event()
        self._send_lock = threading.Lock()
        self._commands: dict[int, int] = {}
        self._questions: dict[int, socket.socket] = {}
        self._next_question = 0
        self._shutdown_timer: threading.Timer | None = None
        self._reboot = False

    def say(self, text: str) -> None:
        """One line on the console."""
        print(f"[{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}] {text}", flush=True)

    def tell_owner(self, message: channel.Message) -> None:
        """Send the owner a message; without an owner there is nothing left to do."""
        with self._send_lock:
            try:
                channel.send(self.control, message)
            except OSError:
                os._exit(1)

    # --- what the owner asks

    def obey_owner(self) -> None:
        """Serve the control channel until it ends."""
        while (packet := channel.receive(self.control)) is not None:
            message, files = packet
            match message.get("kind"):
                case "run":
                    _thread(self.run_command, message, files)
                case "kill":
                    children.signal_all(children.session_members(self._commands.get(message["id"], -1)), signal.SIGKILL)
                case "answer":
                    self.pass_on(message, files)
                case "stop":
                    self.stopping.set()
                    os.kill(1, signal.SIGTERM)
        os._exit(1)

    def run_command(self, message: channel.Message, files: list[int]) -> None:
        """Run one command with the given open files as its output, and report its exit code."""
        number, code, error = message["id"], 127, ""
        try:
            pid = self.children.spawn(
                message["argv"], env={**ENVIRONMENT, **message["env"]}, stdout=files[0], stderr=files[1]
            )
            self._commands[number] = pid
            code = self.children.wait(pid) or 0
        except OSError as problem:
            error = str(problem)
        finally:
            channel.close_all(files)
            self._commands.pop(number, None)
        self.tell_owner({"kind": "ended", "id": number, "code": code, "error": error})

    def pass_on(self, message: channel.Message, files: list[int]) -> None:
        """Give the owner's answer to the program that asked."""
        asker = self._questions.pop(message["id"], None)
        if asker is not None:
            with asker:
                try:
                    channel.send(asker, message, files)
                except OSError:
                    self.say(f"the program that asked for {message.get('about', 'something')} is gone")
        channel.close_all(files)

    # --- what programs of the machine ask

    def serve_programs(self) -> None:
        """Accept the machine's own programs."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(channel.SOCKET)
            Path(channel.SOCKET).chmod(0o600)
            listener.listen(64)
            while True:
                connection, _ = listener.accept()
                _thread(self.answer_program, connection)

    def answer_program(self, connection: socket.socket) -> None:
        """One request of one program; only root may ask."""
        packet = channel.receive(connection)
        if packet is None:
            connection.close()
            return
        message, files = packet
        channel.close_all(files)
        uid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        if uid != 0:
            self.reply(connection, {"code": 1, "stderr": "Interactive authentication required.\n"})
            return
        match message.get("kind"):
            case "systemctl":
                self.reply(connection, self.manager.command(message["arguments"]))
            case "power":
                self.reply(connection, self.power(message))
            case "lustre" | "volume":
                self._next_question += 1
                self._questions[self._next_question] = connection
                self.tell_owner({**message, "id": self._next_question})
            case unknown:
                self.reply(connection, {"code": 1, "stderr": f"pid 1 does not know {unknown!r}\n"})

    def reply(self, connection: socket.socket, answer: channel.Message) -> None:
        """Answer and hang up."""
        with connection:
            try:
                channel.send(connection, answer)
            except OSError as error:
                self.say(f"an answer was not taken: {error}")

    def power(self, message: channel.Message) -> channel.Message:
        """poweroff, halt, reboot, shutdown: each ends this boot of the machine, now or after `delay` seconds; a
        negative delay cancels.
        """
        if self._shutdown_timer is not None:
            self._shutdown_timer.cancel()
            self._shutdown_timer = None
        delay = float(message["delay"])
        if delay >= 0:
            self.say(f"{message['verb']} asked for, in {delay:g} s")
            self._shutdown_timer = threading.Timer(delay, self._end, [bool(message["reboot"])])
            self._shutdown_timer.daemon = True
            self._shutdown_timer.start()
        return {"code": 0}

    def _end(self, reboot: bool) -> None:
        self._reboot = reboot
        os.kill(1, signal.SIGTERM)

    # --- life and death

    def boot(self) -> None:
        """Start enabled units, then the user data, and tell the owner how it went."""
        self.manager.start_enabled()
        log = Path("/var/log/cloud-init-output.log")
        code = user_data.run(
            self.children,
            instance=Path("/var/lib/cloud/instance"),
            log=log,
            result=Path("/run/cloud-init/result.json"),
            env=ENVIRONMENT,
        )
        self.say(f"user data ended with {code}")
        if code:
            for line in log.read_text(errors="replace").splitlines()[-20:]:
                self.say(f"user data: {line}")
        self.tell_owner({"kind": "user-data", "code": code})

    def shut_down(self) -> None:
        """Stop services in good order, then everything else, then pid 1."""
        self.say("shutting down")
        stopper = threading.Thread(target=self.manager.stop_all, daemon=True)
        stopper.start()
        end = time.monotonic() + STOP_GRACE
        while stopper.is_alive() and time.monotonic() < end:
            self.children.reap()
            stopper.join(0.01)
        children.end_everything(grace=1.0)
        if self._reboot:
            self.tell_owner({"kind": "reboot"})
        self.say("reboot" if self._reboot else "power down")
        os._exit(0)


def _thread(work: object, *arguments: object) -> None:
    threading.Thread(target=work, args=arguments, daemon=True).start()  # type: ignore[arg-type]


def main(arguments: list[str]) -> int:
    """Run as pid 1 by `inside.setup`; never returns."""
    control = socket.socket(fileno=os.dup(0))
    os.dup2(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC), 0)
    init = Init(control)
    wake, bell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    terminate = threading.Event()

    def on_term(number: int, frame: FrameType | None) -> None:
        terminate.set()

    def on_child(number: int, frame: FrameType | None) -> None:
        pass

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGPWR):
        signal.signal(number, on_term)
    signal.signal(signal.SIGCHLD, on_child)
    signal.set_wakeup_fd(bell, warn_on_full_buffer=False)
    init.say(f"machine {' '.join(arguments)} is up")
    init.tell_owner({"kind": "up"})
    for work in (init.obey_owner, init.serve_programs, init.boot):
        _thread(work)
    while not terminate.is_set():
        select.select([wake], [], [])
        os.read(wake, 4096)
        init.children.reap()
    init.shut_down()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

import os
import signal
import subprocess
import sys
import threading

import pytest

from davidnet_keras.runs.stop_signals import StopSignals

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_first_signal_is_only_noted(number, capfd):
    with StopSignals() as stop:
        assert stop.received is None
        os.kill(os.getpid(), number)
        assert stop.received == number
    assert "Interrupt again to stop at once" in capfd.readouterr().err


def test_without_announcing_nothing_is_printed(capfd):
    with StopSignals(announce=False):
        os.kill(os.getpid(), signal.SIGTERM)
    assert capfd.readouterr().err == ""


def test_the_handlers_of_before_come_back():
    before = [signal.getsignal(number) for number in NUMBERS]
    with StopSignals(announce=False):
        assert [signal.getsignal(number) for number in NUMBERS] != before
        os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(number) for number in NUMBERS] == before


def test_a_second_signal_ends_a_program_at_once():
    program = (
        "import os, signal, sys, time\n"
        "from davidnet_keras.runs.stop_signals import StopSignals\n"
        "with StopSignals() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print(stop.received, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still there')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGINT, f"{int(signal.SIGTERM)}\n")


def test_a_second_ctrl_c_in_an_interactive_session_raises(monkeypatch):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    with pytest.raises(KeyboardInterrupt), StopSignals(announce=False):
        os.kill(os.getpid(), signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals(announce=False) as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.received is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_another_thread_nothing_changes():
    before = [signal.getsignal(number) for number in NUMBERS]
    inside = []

    def work():
        with StopSignals():
            inside.extend(signal.getsignal(number) for number in NUMBERS)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == before

"""A target in a process of its own: whatever it does is one finding in time, and the other clauses are judged."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from refdiff.conformance import remote
from refdiff.conformance.calls import ContractViolation
from refdiff.conformance.interface import Cosine, Linear
from refdiff.conformance.judge import Judge, Settings
from refdiff.conformance.outcome import Outcome
from refdiff.conformance.remote import Launch, Remote, RemoteObject, size
from refdiff.errors import ConfigError
from tests.meta.targets.plain import Plain
from validation.checks.suite import checks

ROOT = Path(__file__).parents[2]
HOSTILE = "tests.meta.targets.hostile"
LIMIT = 1.0
FAST = [
    (check, body) for check, body in checks() if check.clause in ("CON-1", "CON-2", "CON-3", "CON-5", "MAR-1", "MAR-4")
]
LINEAR = Linear(beta_min=0.1, beta_max=20.0)
X = np.linspace(0.25, 0.75, 4, dtype=np.float32).reshape(2, 2)
T = X[:, 0]


def judged(spec: str, launch: Launch | None = None, folder: Path | None = None) -> list[Outcome]:
    """Return what a few checks find of a target in a process of its own."""
    judge = Judge.of(spec, Settings(seconds=LIMIT), folder, launch or Launch())
    return judge.judge(FAST)


def children() -> set[int]:
    """Return the processes that this one has started, the dead and unreaped among them."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.add(int(stat.parent.name))
    return found


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("is_killed", "perturb ended the target's process, by SIGKILL"),
        (
            "leaves",
            "perturb ended the target's process, with exit status 0; "
            "it said: \\x1b[31merror: nothing \N{BELL}to see here",
        ),
        ("segfaults", "perturb ended the target's process, by SIGSEGV; it said: Fatal Python error"),
        ("stalls_in_c", "perturb did not return within 1 s"),
        ("swallows", "perturb did not return within 1 s"),
        ("writes_garbage", "perturb wrote '\ufffd garbage \\x1b[2J' where an answer is due: no JSON"),
        ("closes", "perturb closed the pipe on which its answer is due"),
        ("interrupts", "perturb raised KeyboardInterrupt"),
        ("hides", "perturb raised Unsupported while it handled IndexError: list index out of range"),
    ],
)
def test_hostile_target_is_one_finding(name: str, cause: str) -> None:
    """CON-5 fails in one line that names the call, soon; what does not touch the method passes."""
    started = time.monotonic()
    outcomes = judged(f"{HOSTILE}:{name}")
    rule = [o for o in outcomes if o.clause == "CON-5"]
    assert rule
    assert all(o.status == "fail" and cause in o.reason and "\n" not in o.reason for o in rule), rule[0].reason
    assert {o.status for o in outcomes if o.clause == "MAR-4"} == {"fail"}
    assert [o.status for o in outcomes if o.check in ("test_alpha", "test_methods_are_there")] == ["pass", "pass"]
    # One call is enough: the limit once, and a start or two.
    assert time.monotonic() - started < LIMIT + 60.0


@pytest.mark.parametrize("name", ["grows", "floods"])
def test_memory_has_a_limit(name: str) -> None:
    """100 GB, or a line without end: stopped at the limit of memory, of the line, or of time."""
    cause = {
        "grows": ("perturb took more than 0.25 GiB of memory",),
        "floods": ("wrote a line of more than", "did not return within"),
    }[name]
    judge = Judge.of(f"{HOSTILE}:{name}", Settings(seconds=60.0), launch=Launch(memory=2**28))
    outcomes = judge.judge(FAST)
    rule = [o for o in outcomes if o.clause == "CON-5"]
    assert all(o.status == "fail" and any(c in o.reason for c in cause) for o in rule), rule[0].reason
    assert [o.status for o in outcomes if o.check == "test_alpha"] == ["pass"]


@pytest.mark.parametrize("name", ["prints", "forks"])
def test_noise_is_no_finding(name: str) -> None:
    """Printing, reading or forking by the target does not reach the pipe: a right target conforms."""
    outcomes = judged(f"{HOSTILE}:{name}")
    statuses = {o.status for o in outcomes}
    assert "pass" in statuses
    assert statuses <= {"pass", "not_claimed"}, [o.reason for o in outcomes]


def test_refusal_by_the_library_is_none_by_accident() -> None:
    """`Unsupported`, raised from what the claim lists as the library's way to refuse, is a refusal."""
    outcomes = judged(f"{HOSTILE}:refuses")
    assert {o.status for o in outcomes if o.clause == "MAR-4"} == {"unsupported"}
    assert "fail" not in {o.status for o in outcomes}


def test_huge_result_is_a_wrong_shape() -> None:
    """CON-2: 16 GB, which share one number, are described and not sent."""
    outcomes = judged(f"{HOSTILE}:gives_a_mountain")
    failed = [o for o in outcomes if o.clause == "CON-2" and o.status == "fail"]
    assert failed
    assert "got numpy.ndarray of shape (1048576, 4096)" in failed[0].reason


def test_death_between_calls_is_found() -> None:
    """CON-5: a target that answers and dies a moment later."""
    target = Remote(Launch(), f"{HOSTILE}:dies_later")
    built = target.build(LINEAR)
    built.ask("perturb", "perturb", (X, X, T), 5.0)
    time.sleep(1.0)
    with pytest.raises(ContractViolation, match="coefficients ended the target's process, with exit status 3"):
        built.ask("coefficients", "coefficients", (T,), 5.0)
    assert set(built.ask("coefficients", "coefficients", (T,), 5.0)) >= {"alpha", "sigma"}
    target.close()


MODULES = {
    "import os; os._exit(0)": "loading mine:target ended the target's process, with exit status 0",
    "raise SystemExit(3)": "importing mine raised SystemExit: 3",
    "import time; time.sleep(1000)": "loading mine:target did not return within 1 s",
    "def target(): raise SystemExit('no licence')": "mine:target() raised SystemExit: no licence",
    "def target(): raise KeyboardInterrupt": "loading mine:target raised KeyboardInterrupt",
    "import os; os.kill(os.getpid(), 11)\n": "loading mine:target ended the target's process, by SIGSEGV",
    "no python": "importing mine raised SyntaxError",
    "x = 1": "mine has no attribute 'target'",
    "from refdiff.conformance.interface import Unsupported\n"
    "def target(): raise Unsupported('today')": "mine:target() raised Unsupported: today",
}


@pytest.mark.parametrize("text", MODULES)
def test_target_that_does_not_load(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CON-1 fails with the cause, and the other clauses are not run."""
    monkeypatch.setattr(remote, "IMPORT", 1.0 if "sleep" in text else 60.0)
    (tmp_path / "mine.py").write_text(text)
    outcomes = judged("mine:target", folder=tmp_path)
    assert {o.status for o in outcomes if o.clause == "CON-1"} == {"fail"}
    assert {o.status for o in outcomes if o.clause != "CON-1"} == {"not_run"}
    assert all(o.reason.startswith(MODULES[text]) and "\n" not in o.reason for o in outcomes), outcomes[0].reason


def test_the_host_needs_numpy_alone(tmp_path: Path) -> None:
    """Nothing of the judge's is imported beside the target, which runs in the interpreter that is named."""
    (tmp_path / "mine.py").write_text(
        "import sys\n"
        "from refdiff.conformance.interface import Claim, Linear\n"
        "heavy = {'torch', 'jaxtyping', 'hypothesis', 'pytest', 'scipy', 'flint', 'tabulate'}\n"
        "class Target:\n"
        "    claim = Claim(name=str(sorted(heavy & set(sys.modules))), version=sys.executable, dtype='float32',\n"
        "                  processes=(Linear,), capabilities=frozenset({'perturb'}))\n"
        "    def build(self, process): return self\n"
    )
    for launch in (Launch(), Launch(python=sys.executable)):
        target = Remote(launch, "mine:Target", folder=tmp_path)
        assert (target.claim.name, target.claim.version) == ("[]", sys.executable)
        target.close()


def test_target_that_loads_once(tmp_path: Path) -> None:
    """Lost and not to be had again: said once, and every later call fails at once."""
    (tmp_path / "once.py").write_text(
        "import os, pathlib\n"
        "if pathlib.Path(__file__).with_suffix('.seen').exists(): os._exit(7)\n"
        "pathlib.Path(__file__).with_suffix('.seen').touch()\n"
        f"from {HOSTILE} import is_killed as target\n"
    )
    outcomes = judged("once:target", folder=tmp_path)
    reasons = [o.reason for o in outcomes if o.check == "test_alpha"]
    assert "loading once:target again ended the target's process, with exit status 7" in reasons[0]


def test_the_process_ends_with_the_judge(tmp_path: Path) -> None:
    """Killed, the suite's process takes the target's with it; closed, it leaves no child, zombie or descriptor."""
    gc.collect()
    before, fds = children(), len(list(Path("/proc/self/fd").iterdir()))
    target = Remote(Launch(), f"{HOSTILE}:is_killed")
    for _ in range(3):
        with pytest.raises(ContractViolation):
            target.build(LINEAR).perturb(X, X, T)
    target.close()
    assert children() == before
    assert len(list(Path("/proc/self/fd").iterdir())) == fds

    code = (
        "import os, time; from refdiff.conformance.remote import Launch, Remote\n"
        f"target = Remote(Launch(), '{HOSTILE}:stalls_in_c')\n"
        "print(target._child._popen.pid, flush=True)\n"
        "import numpy as np; x = np.zeros((1, 1), np.float32)\n"
        "from refdiff.conformance.interface import Linear\n"
        "target.build(Linear(beta_min=0.1, beta_max=20.0)).perturb(x, x, x[0])\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.5)
        parent.send_signal(signal.SIGKILL)
    ends = time.monotonic() + 20.0
    while Path(f"/proc/{pid}").exists() and time.monotonic() < ends:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def test_a_forgotten_target_is_ended() -> None:
    """The judge of many targets in one process leaves no process behind."""
    gc.collect()
    before = children()
    for _ in range(2):
        judged("tests.meta.targets.bad:right")
    gc.collect()
    assert children() == before


def test_values_are_those_of_one_process() -> None:
    """To the bit, in every call, the answers are those of the same target here."""
    target = Remote(Launch(), "tests.meta.targets.plain:Plain")
    there, here = target.build(LINEAR), Plain().build(LINEAR)
    for name, value in here.coefficients(T).items():
        assert there.coefficients(T)[name].tobytes() == value.tobytes()
    assert there.perturb(X, X, T).tobytes() == here.perturb(X, X, T).tobytes()
    assert there.convert(X, X, T, "eps", "v").tobytes() == here.convert(X, X, T, "eps", "v").tobytes()
    target.close()


def test_denoisers_cross_both_ways() -> None:
    """`loss` calls the suite's denoiser once, with what it was given; `fit` returns one that can be called."""
    target = Remote(Launch(), "tests.meta.targets.callbacks:target")
    built = target.build(Cosine(s=0.008))
    asked = []

    def denoiser(x_t: np.ndarray, t: np.ndarray) -> np.ndarray:
        asked.append((x_t, t))
        return 2 * x_t

    assert built.loss(denoiser, "eps", X, X, T, "uniform").tobytes() == (2 * X).sum(1).tobytes()
    assert [a.tobytes() for a in asked[0]] == [X.tobytes(), T.tobytes()]
    trained = built.fit(X, 0, 1.0)
    assert isinstance(trained, RemoteObject)
    assert trained.ask("the denoiser of fit", "denoiser", (X, T), 5.0).tobytes() == (X + X.sum()).tobytes()
    # In a new process it is trained again.
    with pytest.raises(ContractViolation):
        built.step(X, X, T, T, X, "ddim")
    assert trained.ask("the denoiser of fit", "denoiser", (X, T), 5.0).tobytes() == (X + X.sum()).tobytes()

    def broken(x_t: np.ndarray, t: np.ndarray) -> np.ndarray:
        raise ZeroDivisionError("in the suite")

    with pytest.raises(ContractViolation, match="loss raised CallbackFailed: ZeroDivisionError: in the suite"):
        built.loss(broken, "eps", X, X, T, "uniform")
    target.close()


def test_interrupted_call_leaves_no_answer_behind() -> None:
    """A call that an exception of the suite cuts short does not answer the next one."""
    target = Remote(Launch(), "tests.meta.targets.callbacks:target")
    built = target.build(LINEAR)

    def interrupted(x_t: np.ndarray, t: np.ndarray) -> np.ndarray:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        built.loss(interrupted, "eps", X, X, T, "uniform")
    assert built.perturb(X, X, T).tobytes() == X.tobytes()
    target.close()


@pytest.mark.parametrize(("text", "number"), [("8GiB", 2**33), ("512MiB", 2**29), ("1.5G", 3 * 2**29), ("2 kb", 0)])
def test_sizes(text: str, number: int) -> None:
    """A number with a unit; anything else is refused in a sentence."""
    if number:
        assert size(text) == number
    for wrong in (text if not number else "0GiB", "", "8", "-1GiB", "nan", "1e9GiB", "1XB"):
        with pytest.raises(ConfigError, match="expected --refdiff-memory of at least"):
            size(wrong)


def test_commands_that_name_no_program() -> None:
    """One sentence, before anything runs."""
    for launch, cause in (
        (Launch(command=""), "expected --refdiff-target-exec as a command whose program exists, got ''"),
        (
            Launch(command="no-such-program-here --x"),
            "expected --refdiff-target-exec as a command whose program exists",
        ),
        (Launch(command="'"), "expected --refdiff-target-exec as a shell command, got"),
        (Launch(python="/no/such/python"), "expected --refdiff-target-python as a Python interpreter"),
    ):
        with pytest.raises(ConfigError, match=cause):
            launch.argv("m:f", None)

"""The matrix: fault x phase x client. Seed 0 is the plain table; other seeds vary it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from comfy_ui.demo import DemoServer
from comfy_ui.errors import ComfyUIConnectionError
from tests.faults import catalogue
from tests.faults.catalogue import FOREVER, HttpFault, WsFault, cut_1006
from tests.faults.proxy import FaultProxy, Phase
from tests.faults.runner import Case
from tests.shells import SHELLS, Shell

STEPS_PER_SECOND = 150.0
# After this many posts without a response the client raises instead of retrying.
GIVE_UP_POSTS = 3


@dataclass(frozen=True)
class Bench:
    """A server, the faulty proxy before it, and the host that redirects point to."""

    server_url: str
    proxy: FaultProxy


@contextmanager
def bench(*, seed: int = 0) -> Iterator[Bench]:
    with ExitStack() as stack:
        server = stack.enter_context(DemoServer(speed=STEPS_PER_SECOND).in_thread())
        proxy = stack.enter_context(FaultProxy(server.url, seed=seed).in_thread())
        proxy.thief = stack.enter_context(FaultProxy(server.url).in_thread())
        yield Bench(server.url, proxy)


def cases(*, seed: int = 0, slow: bool = False) -> list[Case]:
    """Return every cell in a fixed order; ``slow`` cells take seconds by nature."""
    rng = random.Random(seed)
    http = catalogue.SLOW if slow else catalogue.HTTP
    sockets = catalogue.WS_SLOW if slow else catalogue.WS
    timeout_s = 60.0 if slow else 20.0
    cells = []
    for name, fault in http.items():
        for phase in fault.phases:
            for shell in SHELLS:
                if phase == "connect" and shell == "sync":
                    continue
                times = _times(fault.times, rng, seed)
                case = Case(
                    f"{name} · {phase} · {shell}",
                    shell,
                    _http(fault, phase, shell, times),
                    fault.expected(phase),
                    fault.tolerates,
                    timeout_s=timeout_s,
                    silence_s=fault.silence_s,
                )
                if times >= GIVE_UP_POSTS and case.expect == "recovers":
                    case = replace(case, tolerates=(ComfyUIConnectionError,))
                cells.append(case)
    for name, socket_fault in sockets.items():
        arm = _socket(socket_fault, _times(socket_fault.times, rng, seed))
        cells.append(Case(f"{name} · socket · async", "async", arm, timeout_s=timeout_s))
    return cells


def _times(times: int, rng: random.Random, seed: int) -> int:
    return times if seed == 0 or times >= FOREVER else rng.randint(1, 3)


def _http(fault: HttpFault, phase: Phase, shell: Shell, times: int) -> Callable[[FaultProxy], None]:
    def arm(proxy: FaultProxy) -> None:
        proxy.arm(fault.act, phase=phase, times=times)
        if phase == "run" and shell == "async":
            # With a healthy socket this client sends no requests during a run, so cut it.
            proxy.arm_socket(cut_1006, times=2)

    return arm


def _socket(fault: WsFault, times: int) -> Callable[[FaultProxy], None]:
    return lambda proxy: proxy.arm_socket(fault.act, times=times)

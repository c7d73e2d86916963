"""The fair lock: in the order of asking, one at a time."""

from __future__ import annotations

import threading
import time

from streamer.scorer.turns import Turns


def test_threads_get_it_in_the_order_in_which_they_asked() -> None:
    turns = Turns()
    order: list[int] = []

    def take(number: int) -> None:
        with turns:
            order.append(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    with turns:
        for n_asked, thread in enumerate(threads, start=1):
            thread.start()
            while len(turns._waiting) < n_asked:
                time.sleep(0.001)
    with turns:  # asked for at once after it was let go: behind the eight all the same
        order.append(-1)
    for thread in threads:
        thread.join()
    assert order == [*range(8), -1]


def test_one_thread_has_it_at_a_time() -> None:
    turns = Turns()
    n_inside, most = 0, 0

    def work() -> None:
        nonlocal n_inside, most
        for _ in range(200):
            with turns:
                n_inside += 1
                most = max(most, n_inside)
                time.sleep(0)
                n_inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1

"""The threads of an agent: order, ending, and what is left of a job that hangs."""

import threading

from boardwright.agent.worker import Worker


def test_jobs_are_done_one_after_the_other() -> None:
    done: list[int] = []
    worker = Worker("test")
    for number in range(5):
        worker.submit(lambda number=number: done.append(number))  # type: ignore[misc]
    assert worker.finish(5.0)
    assert done == [0, 1, 2, 3, 4]


def test_closing_drops_what_is_queued_and_waits_for_the_job_under_way() -> None:
    begun, go_on, done = threading.Event(), threading.Event(), []
    worker = Worker("test")

    def first() -> None:
        begun.set()
        go_on.wait(5.0)
        done.append("first")

    worker.submit(first)
    worker.submit(lambda: done.append("second"))
    assert begun.wait(5.0)
    threading.Timer(0.05, go_on.set).start()
    assert worker.close(5.0)
    assert done == ["first"]


def test_a_job_that_hangs_holds_nobody() -> None:
    begun, release = threading.Event(), threading.Event()
    worker = Worker("test")

    def hang() -> None:
        begun.set()
        release.wait(10.0)

    worker.submit(hang)
    assert begun.wait(5.0)
    assert not worker.close(0.05)
    release.set()


def test_a_worker_without_jobs_has_no_thread() -> None:
    before = threading.active_count()
    assert Worker("test").close(1.0)
    assert threading.active_count() == before

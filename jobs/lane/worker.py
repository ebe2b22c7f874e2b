"""A worker of lanes: what its process keeps from turn to turn."""

from campaign_engine.services.accounts import accounts
from campaign_engine.services.messages.planning import Plan
from jobs.lane.calls import Pipeline, RowCall
from jobs.lane.journal import Journal
from jobs.lane.threads import CallThreads
from jobs.runtime import Runtime, runtime


class LaneWorker:
    """Owns the journal of this process and the threads of its calls. Used by one thread, which runs turn after turn."""

    def __init__(self, current: Runtime) -> None:
        self.current = current
        self._journal: Journal | None = None
        self._threads: CallThreads[RowCall] | None = None

    @property
    def journal(self) -> Journal:
        """The journal, made when it is first asked for: its lock is the sign of life of this process."""
        if self._journal is None:
            self._journal = Journal(self.current.journal_dir)
        return self._journal

    def leave_journal(self) -> None:
        """Leave the journal to the pool; the next turn has a new one."""
        if self._journal is not None:
            self._journal.leave()
            self._journal = None

    def pipeline(self, plan: Plan) -> Pipeline:
        """Return the calls of a turn from the account of a plan, with nothing in hand yet."""
        account = plan.account
        return Pipeline(
            provider=self.current.providers[account.provider],
            sender=accounts.sender_of(account, vault=self.current.vault),
            journal=self.journal,
            threads=self._call_threads(account.max_in_flight),
            max_in_flight=account.max_in_flight,
            stopping=self.current.stopping,
        )

    def _call_threads(self, count: int) -> CallThreads[RowCall]:
        """Return `count` threads; those of the turn before when it wanted as many."""
        if self._threads is None or self._threads.count != count:
            if self._threads is not None:
                self._threads.end()
            self._threads = CallThreads(count)
        return self._threads


def lane_worker() -> LaneWorker:
    """Return the worker that this process is.

    Raises:
        RuntimeError: the process has no runtime.
    """
    return runtime().kept(LaneWorker)

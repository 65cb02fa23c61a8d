"""An MLflow store behind a server, read over HTTP with the server's REST endpoints, several requests at once.

The runs come from `runs/search`, once for all small tables. The points come from `metrics/get-history-bulk`, one
metric of many runs a request, where the server has it: it answers with 25,000 points at most and says nothing of
what it left out. So a run counts as read only where its last step is there and the answer cannot have been cut in
it; any other is asked for again, alone and page by page (`metrics/get-history`). `get-history-bulk-interval` is not
used, because it thins.

A point that is added to a run without being its last, its status unchanged, is not seen: no endpoint shows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from hpkb.errors import SourceError
from hpkb.sources.history_plan import LIMIT, Group, HistoryPlan, Page
from hpkb.sources.mlflow import MlflowStore
from hpkb.sources.rest import JsonServer, RestError, RestServer
from hpkb.sources.searched_runs import SearchedRuns, integer, number

_API = "api/2.0/mlflow/"
_BULK = "ajax-api/2.0/mlflow/metrics/get-history-bulk"
_ARTIFACTS_API = "api/2.0/mlflow-artifacts/artifacts/"
_PAGE = 1_000  # runs or experiments
_AT_OPENING = 2  # retries; a wrong address should not take long to be found out


class MlflowHttp(MlflowStore):
    """The runs of an MLflow server; raises SourceError where none answers at the address."""

    kind = "mlflow_http"

    def __init__(self, uri: str, threads: int = 8, server: JsonServer | None = None) -> None:
        super().__init__()
        self._server, self._threads = server or RestServer(uri, threads), threads
        self.through_server = self._download
        self.name = self._server.address
        self._has_bulk = True
        self._snapshot: dict[str, pa.Table] = {}
        self._partial = False  # the snapshot is of some experiments only
        self._experiments = self._search_experiments()

    def experiments(self) -> list[str]:
        """Returns the names of the active experiments."""
        return sorted(self._experiments.values())

    def close(self) -> None:
        """Lets go of the connections."""
        self._server.close()

    def fingerprints(self, experiments: Sequence[str] = ()) -> pa.Table:
        """Returns the fingerprints of what the server has now; the other tables are of the same moment."""
        self._experiments = self._search_experiments()
        self._take(experiments)
        return super().fingerprints(experiments)

    def curves(self, ids: pa.Array) -> Iterator[pa.RecordBatch]:
        """Yields the points."""
        self._cover(ids)
        yield from super().curves(ids)

    def small_table(self, name: str) -> pa.Table:
        """Returns one of the small tables, as it was when the fingerprints were taken."""
        if not self._snapshot:
            self._take(())
        return self._snapshot[name]

    def artifacts(self) -> pa.Table:
        """Returns where the artifacts of the runs with whole curves are."""
        return self.small_table("artifacts")

    def _download(self, address: str, file: Path) -> None:
        """Fetches a file that the server keeps, of mlflow-artifacts:/PATH or mlflow-artifacts://HOST/PATH."""
        parts = urlsplit(address)
        if parts.netloc and parts.hostname != urlsplit(self.name).hostname:  # it may not have our credentials
            raise SourceError("they are behind another server than the one that is read")
        try:
            self._server.download(_ARTIFACTS_API + quote(parts.path.lstrip("/")), file)
        except RestError as error:
            if error.status != 404:
                raise
            raise FileNotFoundError(address) from None

    def points(self, ids: pa.Array) -> Iterator[pa.Table]:
        """Yields the points of these runs, one answer of the server at a time, in no particular order of the runs."""
        latest = self.small_table("latest")
        plan = HistoryPlan(latest.filter(pc.is_in(latest["run_id"], value_set=ids.cast(pa.string()))))
        pending: dict[Future[_Answer], Group | Page] = {}
        pool = ThreadPoolExecutor(self._threads)
        try:
            while plan or pending:
                while plan and len(pending) < self._threads:
                    asked = plan.next(bulk=self._has_bulk)
                    pending[pool.submit(self._ask, asked)] = asked
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    points = _settle(plan, pending.pop(future), future.result())
                    if points.num_rows:
                        yield points
        except SourceError:
            self._server.close()  # or the other threads would go on trying
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, what: Group | Page) -> _Answer:
        return self._group(what) if isinstance(what, Group) else self._page(what)

    def _group(self, group: Group) -> _Answer:
        """One metric of many runs, or nothing where the server has no such endpoint."""
        query = [("metric_key", group.metric), ("max_results", str(LIMIT))]
        try:
            answer = self._server.get(_BULK, query + [("run_id", run_id) for run_id in group.last_steps])
        except RestError:
            self._has_bulk = False  # not there, hidden by a proxy, or broken: the public endpoint decides
            return _Answer(_points([], group.metric), missing=True)
        found = answer.get("metrics") or []
        return _Answer(_points(found, group.metric), cut=len(found) >= LIMIT)

    def _page(self, page: Page) -> _Answer:
        """One page of one metric of one run; a run that was removed for good meanwhile has none."""
        query = {"run_id": page.run_id, "metric_key": page.metric, "max_results": str(LIMIT)}
        if page.token:
            query["page_token"] = page.token
        try:
            answer = self._server.get(_API + "metrics/get-history", query)
        except RestError as error:
            if error.code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return _Answer(_points([], page.metric))
        found = answer.get("metrics") or []
        token = answer.get("next_page_token") or ""
        return _Answer(_points(found, page.metric, page.run_id), token=token if found else "")

    def _join(
        self,
        sql: str,
        tables: Sequence[str],
        schema: pa.Schema,
        ids: pa.Array | None = None,
        **parameters: object,
    ) -> pa.Table:
        if ids is not None:
            self._cover(ids)
        return super()._join(sql, tables, schema, ids, **parameters)

    def _cover(self, ids: pa.Array) -> None:
        """Has all runs in the snapshot where it is of some experiments only and one of these is not among them."""
        known = self.small_table("runs")["run_id"]
        if (
            self._partial
            and not pc.all(pc.is_in(ids.cast(pa.string()), value_set=known.combine_chunks())).as_py()
        ):
            self._take(())

    def _take(self, experiments: Sequence[str]) -> None:
        """Reads all small tables of the experiments named, or of all."""
        wanted = [id_ for id_, name in self._experiments.items() if not experiments or name in experiments]
        rows = SearchedRuns()
        with ThreadPoolExecutor(self._threads) as pool:
            for found in pool.map(
                self._search_runs, [wanted[i :: self._threads] for i in range(self._threads)]
            ):
                for run in found:
                    rows.add(run, self._experiments)
        self._snapshot, self._partial = rows.tables(), bool(experiments)

    def _search_experiments(self) -> dict[str, str]:
        """The names of the active experiments by their ids."""
        body: dict[str, Any] = {"max_results": _PAGE, "view_type": "ACTIVE_ONLY"}
        try:
            pages = list(self._pages("experiments/search", body, _AT_OPENING))
        except RestError as error:
            if error.status not in (404, 405):
                raise
            pages = [self._list_experiments()]
        found = [experiment for page in pages for experiment in page.get("experiments") or []]
        return {str(experiment["experiment_id"]): str(experiment["name"]) for experiment in found}

    def _list_experiments(self) -> dict[str, Any]:
        """The same from a server before MLflow 1.28."""
        try:
            return self._server.get(_API + "experiments/list", {"view_type": "ACTIVE_ONLY"}, _AT_OPENING)
        except RestError as error:
            if error.status not in (404, 405):
                raise
            raise SourceError(f"'{self.name}' answers, but not as an MLflow server does.") from None

    def _search_runs(self, experiments: Sequence[str]) -> list[dict[str, Any]]:
        """The active runs of experiments; oldest first, so that one that comes meanwhile shifts no page."""
        body = {
            "experiment_ids": experiments, "max_results": _PAGE, "run_view_type": "ACTIVE_ONLY",
            "order_by": ["attributes.start_time ASC"],
        }  # fmt: skip
        pages = self._pages("runs/search", body) if experiments else ()
        return [run for page in pages for run in page.get("runs") or []]

    def _pages(self, what: str, body: dict[str, Any], retries: int | None = None) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            page = self._server.post(_API + what, body | ({"page_token": token} if token else {}), retries)
            yield page
            before, token = token, page.get("next_page_token") or ""
            if not token or token == before:
                return


@dataclass(frozen=True)
class _Answer:
    points: pa.Table
    cut: bool = False  # as long as an answer can be, so that some may be missing
    missing: bool = False  # the server has no such endpoint
    token: str = ""  # of the next page


def _settle(plan: HistoryPlan, asked: Group | Page, answer: _Answer) -> pa.Table:
    """The points that may be used; what is missing goes back to the plan."""
    if isinstance(asked, Page):
        plan.go_on(asked, answer.token)
        return answer.points
    if answer.missing:
        plan.one_by_one(asked.metric, asked.last_steps)
        return answer.points
    return plan.settle(asked, answer.points, answer.cut)


def _points(found: Sequence[Mapping[str, Any]], metric: str, run_id: str = "") -> pa.Table:
    """The points of an answer; a database that ignores case may have put in those of another metric."""
    found = [point for point in found if point["key"] == metric]
    columns = {
        "run_id": pa.array([run_id or point["run_id"] for point in found], pa.string()),
        "metric": pa.repeat(pa.scalar(metric, pa.string()), len(found)),
        "step": pa.array([point.get("step", 0) for point in found]) if found else pa.array([], pa.int64()),
        "timestamp": pa.array([integer(point.get("timestamp")) for point in found], pa.int64()),
        "value": pa.array([number(point.get("value")) for point in found], pa.float64()),
    }
    return pa.table(columns)
